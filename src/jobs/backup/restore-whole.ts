import { existsSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { load, refuseLaterTables, refuseNewer } from '../../database/dump/load.ts'
import { openSnapshot } from '../../database/dump/snapshot.ts'
import { type CarriedTable, TABLES } from '../../database/dump/tables.ts'
import { type CopiedFile, recoverCluster } from '../../database/embedded/recovery.ts'
import type { OwnerSession } from '../../database/opening/owner-session.ts'
import { forgetLeftOut, forgetUnfinished } from '../../database/queries/restored-database.ts'
import { flushPath } from '../../lib/fsync.ts'
import { BackupError } from './backup-error.ts'
import { readBytesEntries, readFileEntries } from './entries.ts'
import { readLines } from './lines.ts'
import { type Manifest, readManifest } from './manifest.ts'
import { type Placed, placeBytes } from './placing.ts'
import { copiedSegments, type PointInTime } from './point-in-time.ts'
import { markRestoring, unmarkRestoring } from './restoring-mark.ts'
import { DATABASE_FOLDERS, DEFINITIONS } from './run.ts'
import { StoredBytes } from './stored-bytes.ts'
import type { BackupTarget } from './target.ts'

export interface WholeRestoreOptions {
  target: BackupTarget
  /** Of the backup. */
  id: string
  /** Some second after it, to which the log goes on from it. */
  point?: PointInTime | undefined
  /** Becomes the data folder; made where it is missing. */
  dataDir: string
  /** Whether the rows go into a PostgreSQL of the operator's, and not into the built-in one. */
  isOwnDatabase: boolean
  /** Opens the database of the settings as the owner of its tables, which are made what they were for the rows (`openForRows`). */
  openForRows(schema: string): Promise<OwnerSession>
  /** Opens it migrated. */
  openDatabase(): Promise<Database>
  /** Opens the place of the bytes, with those in the database. */
  openBackend(database: Database): Promise<Backend>
  logger: Logger
  signal: AbortSignal
  onProgress?: (what: 'database' | 'bytes', done: number, total: number) => void
}

export interface WholeRestoreReport extends Placed {
  manifest: Manifest
  /** Whether the server's keys were in the backup, and are in the data folder now. */
  hasKeys: boolean
}

/**
 * Makes an empty place what a backup shows: database, bytes, and, if it has them, keys. A run that was interrupted goes on
 * with the next; until one has come to its end, no server starts there.
 *
 * @throws BackupError, EmbeddedPostgresError, StorageFull, BackendUnavailable, the signal's reason
 */
export async function restoreWhole(options: WholeRestoreOptions): Promise<WholeRestoreReport> {
  const { target, id, dataDir, signal } = options
  const manifest = await readManifest(target, id)
  if (manifest.buckets !== null) {
    throw new BackupError(
      'UnusableTarget',
      `Backup ${id} is of some buckets only: start a server, and restore it there (strongroom restore --mode missing)`,
    )
  }
  const at = options.point?.time.toISOString()
  if (at !== undefined && options.isOwnDatabase) {
    throw new BackupError('UnusableTarget', 'A point in time is of the built-in database: unset DATABASE_URL')
  }
  const goesOn = await markRestoring(dataDir, {
    target: target.name,
    backup: id,
    ...(at !== undefined && { at }),
  })
  const isPhysical = !options.isOwnDatabase && manifest.database.restore_point !== undefined
  if (!isPhysical) await loadRows(options, manifest, goesOn)
  // Of one that was killed there may be a link to a folder that is empty yet.
  else if (!existsSync(join(dataDir, 'postgres/PG_VERSION'))) await recover(options, manifest)
  const database = await options.openDatabase()
  try {
    // Of what came later the log has all.
    if (isPhysical && options.point === undefined) await forgetLeftOut(database, manifest.former)
    await forgetUnfinished(database)
    const placed = await place(options, manifest, database, isPhysical)
    const hasKeys = manifest.with_keys && (await writeKeys(options))
    signal.throwIfAborted()
    await unmarkRestoring(dataDir)
    return { manifest, hasKeys, ...placed }
  } finally {
    await database.close()
  }
}

/** Makes the built-in database of its copy, up to the moment of the backup. */
async function recover(options: WholeRestoreOptions, { id, database, totals }: Manifest): Promise<void> {
  const { target, dataDir, logger, signal, onProgress, point } = options
  const folders = await text(await target.read(`${id}/${DATABASE_FOLDERS}`))
  let done = 0
  async function* files(): AsyncGenerator<CopiedFile> {
    for await (const { path, in: owner = id } of readFileEntries(target, id)) {
      onProgress?.('database', done++, totals.files)
      if (!path.startsWith('database/')) continue
      yield { path: path.slice('database/'.length), open: () => target.read(`${owner}/${path}`) }
    }
  }
  await recoverCluster({
    clusterDir: join(dataDir, 'postgres'),
    files: files(),
    directories: folders.split('\n').filter((path) => path !== ''),
    segment: point?.segment ?? copiedSegments(target, id),
    target: point?.target ?? { restorePoint: database.restore_point ?? '' },
    logger,
    signal,
  })
}

/**
 * Puts the rows into an empty database, and what users have added to it; all or nothing. Migrations since then come after them.
 *
 * @param goesOn whether this restore may have done so before it was interrupted
 */
async function loadRows(options: WholeRestoreOptions, manifest: Manifest, goesOn: boolean): Promise<void> {
  const { target, id, dataDir, openForRows, onProgress } = options
  refuseNewer(manifest.schema)
  const { sql, close } = await openForRows(manifest.schema)
  let done = 0
  try {
    const isUsed = await hasBuckets(sql)
    if (isUsed && goesOn) return
    if (isUsed) {
      await unmarkRestoring(dataDir)
      throw new BackupError(
        'UnusableTarget',
        'The database of DATABASE_URL has buckets already: name a new one (create database …), or put single objects back with --mode',
      )
    }
    await refuseLaterTables(sql, manifest.schema)
    await load(sql, { isServed: false }, async (load) => {
      for (const table of TABLES) {
        if (!isRestored(table, manifest)) continue
        const lines = linesOf(target, `${id}/rows/${table.name}.ndjson`)
        await load.rows(
          table.name,
          counted(lines, () => onProgress?.('database', done++, manifest.totals.objects)),
          'keep',
        )
      }
      for await (const script of textOf(target, `${id}/${DEFINITIONS}`)) await load.sql.unsafe(script)
    })
  } finally {
    await close()
  }
}

/** Whoever it is that restores, and whatever policies would hide from him. */
async function hasBuckets(sql: OwnerSession['sql']): Promise<boolean> {
  const asking = sql.begin(async (tx) => {
    await tx`set local role service_role`
    return tx<{ id: string }[]>`select id from storage.buckets limit 1`
  })
  return (await asking).length > 0
}

/** Bytes follow by themselves. What has lost its secrets is of no use. */
function isRestored({ name, backup, secrets }: CarriedTable, { with_keys: hasKeys }: Manifest): boolean {
  if (name === 'inline_bytes' || backup === false) return false
  return hasKeys || (backup === true && secrets === undefined)
}

async function* counted<T>(list: AsyncIterable<T>, count: () => void): AsyncGenerator<T> {
  for await (const one of list) {
    count()
    yield one
  }
}

/** A file, if it is there. */
async function* textOf(target: BackupTarget, path: string): AsyncGenerator<string> {
  if ((await target.exists(path)) !== null) yield await text(await target.read(path))
}

async function* linesOf(target: BackupTarget, path: string): AsyncGenerator<string> {
  if ((await target.exists(path)) !== null) yield* readLines(await target.read(path), path)
}

async function place(
  options: WholeRestoreOptions,
  { id, totals }: Manifest,
  database: Database,
  hasInlineBytes: boolean,
): Promise<Placed> {
  const { target, dataDir, signal, onProgress, point } = options
  const backend = await options.openBackend(database)
  const stored = new StoredBytes(target, id)
  const snapshot = await openSnapshot(database, { for: 'backup' })
  try {
    return await placeBytes({
      versions: snapshot.versions(),
      backend,
      entries: point?.entries(dataDir) ?? readBytesEntries(target, id),
      stored,
      hasInlineBytes,
      signal,
      onProgress: (done) => onProgress?.('bytes', done, totals.objects),
    })
  } finally {
    await snapshot.close()
    await stored.close()
    await backend.close()
  }
}

/** Keys that are there are kept: the restore was interrupted after it had brought them. */
async function writeKeys({ target, id, dataDir }: WholeRestoreOptions): Promise<boolean> {
  const path = join(dataDir, 'keys.json')
  const keys = await buffer(await target.read(`${id}/keys.json`))
  await writeFile(`${path}.new`, keys, { mode: 0o600, flush: true })
  await rename(`${path}.new`, path)
  await flushPath(dataDir)
  return true
}
