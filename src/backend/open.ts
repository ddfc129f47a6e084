import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { BackendKind, Config } from '../config/config.ts'
import { StorageError } from '../model/errors.ts'
import type { BackendTimes } from '../telemetry/metrics/backend-times.ts'
import { traceMethods } from '../telemetry/tracing/traced-methods.ts'
import type { Tracing } from '../telemetry/tracing/tracing.ts'
import { FallbackBackend } from './fallback.ts'
import { objectsFolder } from './local/folders.ts'
import { LocalBackend } from './local/local-backend.ts'
import { MeasuredBackend } from './measured-backend.ts'
import type { ResumableBackend } from './resumable-backend.ts'

/**
 * What the settings say: one backend, or two as one while bytes are being moved.
 *
 * @param times where it is noted how long they take, if anywhere
 * @param tracing where what they do is a step of requests, if anywhere
 * @throws BackendUnavailable
 */
export async function openBackends(
  config: Config,
  times?: BackendTimes,
  tracing?: Tracing,
): Promise<ResumableBackend> {
  const { backend, backendPrevious } = config
  const watched = async (kind: BackendKind, open: typeof openBackend) => {
    const opened = await open(kind, config, tracing)
    const traced = tracing ? traceMethods(opened, tracing) : opened
    return times ? new MeasuredBackend(traced, kind, times) : traced
  }
  if (backendPrevious === undefined) return watched(backend, openBackend)
  const previous = await watched(backendPrevious, openExisting)
  return new FallbackBackend({ current: await watched(backend, openBackend), previous })
}

/**
 * Opens a backend that must have been used before: a folder that is made anew would look as if all bytes were gone.
 *
 * @throws BackendUnavailable
 */
export async function openExisting(
  kind: BackendKind,
  config: Config,
  tracing?: Tracing,
): Promise<ResumableBackend> {
  const dataDir = resolve(config.dataDir)
  if (kind === 'local' && !existsSync(objectsFolder(dataDir))) {
    throw new StorageError('BackendUnavailable', {
      message: `There are no files in ${dataDir}: run this where the server was started, or set STORAGE_DATA_DIR`,
    })
  }
  return openBackend(kind, config, tracing)
}

/**
 * One backend, made where it is missing.
 *
 * @throws BackendUnavailable when the data folder cannot be used
 */
export async function openBackend(
  kind: BackendKind,
  config: Config,
  tracing?: Tracing,
): Promise<ResumableBackend> {
  const dataDir = resolve(config.dataDir)
  if (kind === 'local') return new LocalBackend({ root: dataDir, fsync: config.fsync })
  if (!config.s3) throw new Error('S3 without its settings') // `readConfig` has refused that
  // Loaded when it is used: the SDK costs others a part of a second at every start.
  const { S3Backend } = await import('./s3/s3-backend.ts')
  return new S3Backend({ ...config.s3, spoolDir: join(dataDir, 'spool'), tracing })
}
