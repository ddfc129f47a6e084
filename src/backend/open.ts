import { join, resolve } from 'node:path'
import type { BackendKind, Config } from '../config.ts'
import type { Backend } from './backend.ts'
import { LocalBackend } from './local.ts'

/**
 * The backend that the settings describe.
 *
 * @throws BackendUnavailable when the data folder cannot be used
 */
export async function openBackend(kind: BackendKind, config: Config): Promise<Backend> {
  const dataDir = resolve(config.dataDir)
  if (kind === 'local') return new LocalBackend({ root: dataDir, fsync: config.fsync })
  if (!config.s3) throw new Error('S3 without its settings') // `readConfig` has refused that
  // Loaded when it is used: the SDK costs others a part of a second at every start.
  const { S3Backend } = await import('./s3.ts')
  return new S3Backend({ ...config.s3, spoolDir: join(dataDir, 'spool') })
}
