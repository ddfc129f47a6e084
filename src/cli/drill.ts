import { createHash } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { openBackends } from '../backend/open.ts'
import { readConfig } from '../config/config.ts'
import { asService } from '../database/as-caller.ts'
import type { Database } from '../database/connection/client.ts'
import { openSnapshot } from '../database/dump/snapshot.ts'
import { connectBeside, connectDatabase } from '../database/opening/connect.ts'
import { openForRows } from '../database/opening/open-for-rows.ts'
import { deleteWebhook, listWebhooks } from '../database/queries/webhooks.ts'
import { restoreWhole } from '../jobs/backup/restore-whole.ts'
import type { BackupTarget } from '../jobs/backup/target.ts'
import { type RunningServer, startServer } from '../server/start-server.ts'
import { InlineBackend } from '../storage/inline/inline-backend.ts'

export interface DrillOptions {
  target: BackupTarget
  /** Of the backup. */
  id: string
  /** In which the folder is made that is removed afterwards; the system's folder for temporary files when left out. */
  folder?: string | undefined
  logger: Logger
  signal: AbortSignal
  /** @param share of the step that is done, from 0 to 1 */
  onProgress?: (step: string, share: number) => void
}

export interface DrillReport {
  /** Objects that the restored database has. */
  objects: number
  /** Versions of before that it has. */
  versions: number
  /** Of both, those that a server on it has answered with the bytes that their checksums are of. */
  answered: number
  bytes: number
  /** What was answered otherwise: objects as `<bucket>/<name>`, versions with their ids behind it; the first of them. */
  wrong: string[]
}

/** How many wrong objects are named. */
const MOST_NAMED = 100

/** What a server of a drill is told: nothing of it leaves this machine, and it touches nothing but its folder. */
const SETTINGS = {
  STORAGE_HOST: '127.0.0.1',
  STORAGE_PORT: '0',
  STORAGE_S3_PROTOCOL_PORT: '0',
  STORAGE_CLEANUP_INTERVAL: '0s',
  STORAGE_SCRUB_INTERVAL: '0s',
  STORAGE_BACKUP_ENABLED: 'false',
  STORAGE_LOG_LEVEL: 'error',
}

/**
 * Restores a backup to a folder of its own, starts a server on it, asks that for every object and every version, and removes all of it again.
 *
 * @throws as `restoreWhole`; what starting a server throws; the signal's reason
 */
export async function drill(options: DrillOptions): Promise<DrillReport> {
  const parent = await mkdtemp(join(options.folder ?? tmpdir(), 'strongroom-drill-'))
  await chmod(parent, 0o755) // PostgreSQL's user must get in
  const dataDir = join(parent, 'storage-data')
  try {
    await restoreTo(dataDir, options)
    return await tryServer(dataDir, options)
  } finally {
    await rm(parent, { recursive: true, force: true })
  }
}

async function restoreTo(
  dataDir: string,
  { target, id, logger, signal, onProgress }: DrillOptions,
): Promise<void> {
  const config = configOf(dataDir)
  const place = { databaseUrl: undefined, dataDir, logger, onLost: () => {} }
  await restoreWhole({
    target,
    id,
    dataDir,
    isOwnDatabase: false,
    openForRows: (schema) => openForRows(place, schema),
    openDatabase: async () => {
      const database = await connectDatabase({ ...place, connections: 4 })
      // What they would be told they have been told long ago.
      await asService(database, async (tx) => {
        for (const { id } of await listWebhooks(tx)) await deleteWebhook(tx, id)
      })
      return database
    },
    openBackend: async (database) => new InlineBackend(await openBackends(config), database),
    logger,
    signal,
    onProgress: (what, done, total) => onProgress?.(`restoring ${what}`, total === 0 ? 1 : done / total),
  })
}

async function tryServer(
  dataDir: string,
  { logger, signal, onProgress }: DrillOptions,
): Promise<DrillReport> {
  const report: DrillReport = { objects: 0, versions: 0, answered: 0, bytes: 0, wrong: [] }
  const server = await startServer({ config: configOf(dataDir), logger, onFatal: () => {} })
  try {
    const database = await connectBeside({
      databaseUrl: undefined,
      dataDir,
      connections: 1,
      logger,
      onLost: () => {},
    })
    try {
      for await (const { object, version, checksum, count } of storedIn(database)) {
        signal.throwIfAborted()
        report[version === undefined ? 'objects' : 'versions']++
        onProgress?.('reading', (report.objects + report.versions) / count)
        const found = await ask(server, object, version)
        report.bytes += found?.size ?? 0
        if (found !== null && (checksum === null || found.sha256 === checksum)) report.answered++
        else if (report.wrong.length < MOST_NAMED) {
          report.wrong.push(version === undefined ? object : `${object} ${version}`)
        }
      }
    } finally {
      await database.close()
    }
  } finally {
    await server.close()
  }
  return report
}

interface StoredVersion {
  object: string
  /** Of one that is not what is there now. */
  version?: string
  checksum: string | null
  /** How many there are in all, about. */
  count: number
}

/** Objects, and what they were before. What is in the trash cannot be asked for. */
async function* storedIn(database: Database): AsyncGenerator<StoredVersion> {
  const former = { versions: true, trash: false }
  const snapshot = await openSnapshot(database, { for: 'backup', former })
  try {
    const count = (await snapshot.count('objects')) + (await snapshot.count('object_versions'))
    for await (const line of snapshot.rows('objects')) {
      const { bucket_id: bucket, name, checksum, version } = JSON.parse(line)
      if (version !== null) yield { object: `${bucket}/${name}`, checksum, count }
    }
    for await (const line of snapshot.rows('object_versions')) {
      const { bucket_id: bucket, name, checksum, version, kind } = JSON.parse(line)
      if (kind === 'version') yield { object: `${bucket}/${name}`, version, checksum, count }
    }
  } finally {
    await snapshot.close()
  }
}

/** What a client gets; null when that is no object. */
async function ask(
  { url, keys }: RunningServer,
  object: string,
  version?: string,
): Promise<{ size: number; sha256: string } | null> {
  const path = object.split('/').map(encodeURIComponent).join('/')
  const headers = { authorization: `Bearer ${keys.serviceKey}` }
  const which = version === undefined ? '' : `?versionId=${encodeURIComponent(version)}`
  const response = await fetch(`${url}/storage/v1/object/${path}${which}`, { headers })
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of response.body ?? []) {
    hash.update(chunk)
    size += chunk.length
  }
  return response.status === 200 ? { size, sha256: hash.digest('hex') } : null
}

function configOf(dataDir: string) {
  return readConfig({ ...SETTINGS, STORAGE_DATA_DIR: dataDir })
}
