import { tmpdir } from 'node:os'
import { text } from 'node:stream/consumers'
import pino from 'pino'
import { openBackends } from '../../src/backend/open.ts'
import type { Manifest } from '../../src/jobs/backup/manifest.ts'
import { restoreObjects } from '../../src/jobs/backup/restore-objects.ts'
import type { RestoreReport, RestoreRequest } from '../../src/jobs/backup/restore-request.ts'
import {
  type BackupParts,
  type BackupReport,
  type BackupRequest,
  runBackup,
} from '../../src/jobs/backup/run.ts'
import type { BackupTarget } from '../../src/jobs/backup/target.ts'
import { verifyBackup } from '../../src/jobs/backup/verify.ts'
import { uuidV7 } from '../../src/lib/uuid.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import type { TestServer } from './server.ts'

const logger = pino({ level: 'silent' })

/** A backup of what a test server has, as a server or a command beside it makes one. It is verified. @param cluster of its PostgreSQL */
export async function backUp(
  server: TestServer,
  target: BackupTarget,
  request: Partial<BackupRequest> = {},
  cluster: BackupParts['cluster'] = null,
): Promise<BackupReport> {
  const { database } = server
  const backend = new InlineBackend(await openBackends(server.config), database)
  try {
    const report = await runBackup(
      { database, backend, target, cluster, scratchDir: tmpdir(), share: 1, logger },
      {
        id: uuidV7(),
        job: null,
        parent: null,
        buckets: null,
        signal: new AbortController().signal,
        ...request,
      },
    )
    const { signal } = new AbortController()
    const { findings } = await verifyBackup(target, report.manifest.id, { signal })
    if (findings.length > 0) throw new Error(`The backup is not whole: ${JSON.stringify(findings)}`)
    return report
  } finally {
    await backend.close()
  }
}

/** Puts objects of a backup back, beside the running server. */
export async function putBack(
  server: TestServer,
  target: BackupTarget,
  manifest: Manifest,
  request: Partial<RestoreRequest> = {},
): Promise<RestoreReport> {
  const { database } = server
  const backend = new InlineBackend(await openBackends(server.config), database)
  try {
    return await restoreObjects(
      { database, backend, target, inlineSize: server.config.inlineSize, logger },
      {
        manifest,
        mode: 'missing',
        buckets: null,
        prefix: '',
        intoBucket: null,
        dryRun: false,
        signal: new AbortController().signal,
        ...request,
      },
    )
  } finally {
    await backend.close()
  }
}

/** The lines of a file of a backup, parsed. */
export async function linesIn<T>(target: BackupTarget, path: string): Promise<T[]> {
  const lines = (await text(await target.read(path))).split('\n')
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as T)
}
