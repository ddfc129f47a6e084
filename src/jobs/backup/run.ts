import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { definitionsScript, readDefinitions } from '../../database/dump/definitions.ts'
import { openSnapshot, type Snapshot, type VersionRow } from '../../database/dump/snapshot.ts'
import type { SocketAddress } from '../../database/embedded/folder-owner.ts'
import { copyOnline, type OnlineCopy } from '../../database/embedded/online-copy.ts'
import { holdRemovals, isHeld } from '../../database/queries/backup-holds.ts'
import type { BackupCounts } from '../../database/queries/backup-jobs.ts'
import { ALL_FORMER, type Former } from '../../database/queries/former.ts'
import { packageVersion } from '../../lib/package-version.ts'
import { type Failures, noFailures, noteFailure } from '../failures.ts'
import { ByteThrottle, MachineLoad, SpareTime } from '../throttle.ts'
import { BackupError } from './backup-error.ts'
import { BYTES, EntryWriter, INLINE_BYTES } from './entries.ts'
import { endHold } from './held-removals.ts'
import { FORMAT, type Manifest, writeManifest } from './manifest.ts'
import { objectPath } from './object-path.ts'
import { ScratchLines } from './scratch-lines.ts'
import type { BackupTarget, WrittenFile } from './target.ts'
import { VersionBytes } from './version-bytes.ts'
import { type PlannedVersion, planVersions } from './version-plan.ts'
import { WrittenFiles } from './written-files.ts'
import { writeRows } from './written-rows.ts'

export interface BackupParts {
  database: Database
  backend: Backend
  target: BackupTarget
  /** The embedded PostgreSQL, of which a copy goes along; null with DATABASE_URL. */
  cluster: { address: SocketAddress; folder: string } | null
  /** For lists that are too long for memory. */
  scratchDir: string
  /** Of one processor, while others want them all; 1 never gives way. */
  share: number
  logger: Logger
}

export interface BackupRequest {
  /** UUID of the backup. */
  id: string
  /** The job with whose end the hold on removals ends, too; null of one that has none. */
  job: string | null
  /** Upon which one it is made; null for a full one. */
  parent: Manifest | null
  /** Ids of the only buckets that are wanted; null for all. */
  buckets: string[] | null
  /** What of the past goes along; all of it without it. */
  former?: Former | undefined
  /** The keys file, if the backup is to have all secrets. */
  keysFile?: string | undefined
  description?: string | undefined
  signal: AbortSignal
  /** @param progress of the work, from 0 to 1 */
  onProgress?: (progress: number, counts: BackupCounts) => void
}

export interface BackupReport {
  manifest: Manifest
  /** Objects whose bytes were missing, or not what their row says: they are not in the backup. */
  failures: Failures
}

/** The folders of the copied database, of which some are empty: a path in each line. */
export const DATABASE_FOLDERS = 'database.folders'

/** What users have added to the schema, where the database itself is not in the backup. */
export const DEFINITIONS = 'sql/definitions.sql'

/** Versions that are looked at together. */
const PAGE = 64

/** Of the database, in bytes per second, unless it never gives way. Twice as fast, slow uploads beside it were measured to take some times as long. */
const COPY_RATE = 100e6

/** How much of the progress comes before the bytes: the database, and the rows. */
const BEFORE_BYTES = 0.5

/**
 * Makes a backup while servers run: all rows of one moment, and the bytes that they name (decision 0058, decision 0059).
 * Nothing is there before its manifest is; a run that fails removes what it has written.
 *
 * @throws StorageFull, TargetUnavailable, BackendUnavailable, DatabaseUnavailable, EmbeddedPostgresError, the signal's reason
 */
export async function runBackup(parts: BackupParts, request: BackupRequest): Promise<BackupReport> {
  const { target, logger } = parts
  const { id, job, signal } = request
  await target.check()
  const hold = holdOf(id)
  const onWait = (transactions: object[]) =>
    logger.info({ transactions }, 'a backup waits for transactions that began before it')
  await holdRemovals(parts.database, { name: hold, job }, { signal, onWait })
  try {
    return await new Run(parts, request).run()
  } catch (error) {
    await target.removeAll(`${id}/`).catch((err: unknown) => {
      logger.warn({ err, backup: id }, 'what a failed backup has written could not be removed')
    })
    throw error
  } finally {
    await endHold(parts, hold, AbortSignal.timeout(600_000))
  }
}

class Run {
  readonly #files: WrittenFiles
  readonly #failures = noFailures()
  /** Of bytes: in the backup, and of these those that no parent has. */
  readonly #sum = { all: 0, new: 0 }
  #objects = 0
  readonly #load = new MachineLoad()
  readonly #spareTime: SpareTime

  constructor(
    private readonly parts: BackupParts,
    private readonly request: BackupRequest,
  ) {
    this.#spareTime = new SpareTime(parts.share, this.#load)
    this.#files = new WrittenFiles(parts.target, request.id)
  }

  async run(): Promise<BackupReport> {
    const { target, cluster, database, scratchDir } = this.parts
    const { id, buckets, former = ALL_FORMER, keysFile, parent, description, signal } = this.request
    const createdAt = new Date().toISOString()

    // 1. The database as a whole, of a moment just before the snapshot's.
    const copy = cluster && buckets === null ? await this.#copyDatabase(cluster) : null

    // 2. All rows of one moment, and the list of their versions.
    const plan = await ScratchLines.open<PlannedVersion>(scratchDir)
    try {
      const purpose = keysFile === undefined ? 'backup' : 'backup with keys'
      const snapshot = await openSnapshot(database, { for: purpose, former })
      if (cluster !== null) this.#load.count(snapshot.pid) // else it may be another machine's
      try {
        const spareTime = this.#spareTime
        this.#objects = await writeRows(snapshot, this.#files, { buckets, spareTime, signal })
        await this.#planVersions(snapshot, plan)
      } finally {
        await snapshot.close()
      }
      if (cluster === null && buckets === null) await this.#writeDefinitions()
      if (keysFile !== undefined) await this.#files.write('keys.json', await readFile(keysFile))

      // 3. The bytes. No transaction is open any more.
      const bytes = await this.#copyBytes(plan)

      // 4. What says that all of it is there, if nothing was removed before it was.
      signal.throwIfAborted()
      if (!(await isHeld(database, holdOf(id)))) {
        throw new BackupError(
          'Interrupted',
          'The backup was taken for dead, and bytes may have been removed before it had them',
        )
      }
      const files = await this.#files.writeList()
      const manifest: Manifest = {
        format: FORMAT,
        id,
        type: parent === null ? 'full' : 'incremental',
        parent: parent?.id ?? null,
        created_at: createdAt,
        moment: snapshot.moment,
        server_version: packageVersion(),
        schema: snapshot.schema,
        functions_revision: snapshot.functionsRevision,
        database: {
          kind: cluster === null ? 'own' : 'embedded',
          postgres: snapshot.postgres,
          ...(copy && {
            system_identifier: copy.systemIdentifier,
            start_lsn: copy.startLsn,
            end_lsn: copy.endLsn,
            restore_point: copy.restorePoint,
          }),
        },
        buckets,
        former,
        with_keys: keysFile !== undefined,
        totals: {
          objects: this.#objects,
          bytes: this.#sum.all,
          files: this.#files.count,
          new_bytes: this.#sum.new,
        },
        damaged: this.#failures.count,
        ...(description !== undefined && { description }),
        sha256: { files: files.sha256, bytes: bytes.sha256 },
      }
      await writeManifest(target, manifest)
      return { manifest, failures: this.#failures }
    } finally {
      await plan.close()
    }
  }

  async #copyDatabase(cluster: { address: SocketAddress; folder: string }): Promise<OnlineCopy> {
    const { id, signal } = this.request
    const throttle = new ByteThrottle(this.parts.share === 1 ? Infinity : COPY_RATE)
    const copy = await copyOnline({
      ...cluster,
      pace: async (bytes) => {
        await throttle.spend(bytes)
        await this.#spareTime.rest()
      },
      restorePoint: `strongroom ${id}`,
      write: (path, content) => this.#files.write(path, content),
      onProgress: (done, total) => this.#note((BEFORE_BYTES * done) / Math.max(1, total)),
      signal,
    })
    const folders = copy.directories.map((path) => `${path}\n`).join('')
    await this.#files.write(DATABASE_FOLDERS, Buffer.from(folders))
    return copy
  }

  async #writeDefinitions(): Promise<void> {
    const session = await this.parts.database.openSession()
    try {
      await this.#files.write(DEFINITIONS, Buffer.from(definitionsScript(await readDefinitions(session.sql))))
    } finally {
      await session.close()
    }
  }

  async #planVersions(snapshot: Snapshot, plan: ScratchLines<PlannedVersion>): Promise<void> {
    const { target } = this.parts
    const { id, parent, buckets, signal } = this.request
    const chosen = buckets && new Set(buckets)
    const wants = ({ object }: VersionRow) =>
      chosen === null || (object !== null && chosen.has(objectPath(object).bucketId))
    const { written, damaged } = await planVersions(
      { snapshot, target, id, parent, wants, spareTime: this.#spareTime, signal },
      plan,
    )
    this.#files.add(INLINE_BYTES, written)
    for (const row of damaged) this.#noteDamaged(row, 'damaged')
  }

  /** Copies what no parent has, and lists all of it. */
  async #copyBytes(plan: ScratchLines<PlannedVersion>): Promise<WrittenFile> {
    const { target } = this.parts
    const { id, signal } = this.request
    const versions = new VersionBytes({ ...this.parts, id, signal })
    const list = new EntryWriter(target, `${id}/${BYTES}`)
    const sum = this.#sum
    let done = 0
    const settle = async (page: PlannedVersion[]) => {
      const entries = await this.#entriesOf(page, versions)
      for (const found of entries) {
        sum.all += found.entry.size
        if (found.isNew) sum.new += found.entry.size
        const behind = list.add(found.entry)
        if (behind) await behind
      }
      done += page.length
      this.#note(BEFORE_BYTES + ((1 - BEFORE_BYTES) * done) / Math.max(1, plan.length))
      await this.#spareTime.rest()
    }
    try {
      let page: PlannedVersion[] = []
      for await (const one of plan.read()) {
        if (page.push(one) < PAGE) continue
        await settle(page)
        page = []
      }
      await settle(page)
      return await list.end()
    } catch (error) {
      await list.abort()
      throw error
    }
  }

  /** What is listed of the versions of a page, without those that have no bytes. */
  async #entriesOf(page: PlannedVersion[], versions: VersionBytes) {
    const copied = await versions.copyAll(page.flatMap((planned) => ('row' in planned ? [planned.row] : [])))
    let next = 0
    return page.flatMap((planned) => {
      if ('entry' in planned) return [planned]
      const found = copied[next++]
      if (found && 'entry' in found) return [found]
      if (found) this.#noteDamaged(planned.row, found.why)
      return []
    })
  }

  /** What no object names any more may have been removed before the backup began. */
  #noteDamaged({ object, version }: VersionRow, why: 'missing' | 'damaged'): void {
    if (object === null) return
    const { bucketId, name } = objectPath(object)
    noteFailure(
      this.#failures,
      { bucketId, name },
      why === 'missing' ? 'its bytes are missing' : 'its bytes are damaged',
    )
    const about = { bucket: bucketId, path: name, version }
    this.parts.logger.error(about, `a backup found ${why} bytes of an object, which it does not have`)
  }

  #note(progress: number): void {
    this.request.onProgress?.(progress, {
      objectCount: this.#objects,
      totalBytes: this.#sum.all,
      damaged: this.#failures.count,
    })
  }
}

function holdOf(id: string): string {
  return `backup ${id}`
}
