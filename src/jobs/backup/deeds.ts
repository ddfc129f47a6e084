import { existsSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Config } from '../../config/config.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { EmbeddedPostgresError } from '../../database/embedded/embedded-error.ts'
import { findRunning } from '../../database/embedded/embedded-postgres.ts'
import { type BackupCounts, type BackupJob, findJob } from '../../database/queries/backup-jobs.ts'
import { noteFull } from '../../database/queries/backup-work.ts'
import { ALL_FORMER } from '../../database/queries/former.ts'
import type { Failures } from '../failures.ts'
import { BackupError, type BackupFault, hasFault } from './backup-error.ts'
import { backupsIn, deleteBackup, type Fate, removeAbandoned } from './backups.ts'
import { BYTES } from './entries.ts'
import type { BackupDeeds, JobRun } from './job-run.ts'
import { type Manifest, readManifest } from './manifest.ts'
import { openTarget } from './open-target.ts'
import { restoreObjects } from './restore-objects.ts'
import type { RestoreReport, RestoreRequest } from './restore-request.ts'
import { type BackupParts, runBackup } from './run.ts'
import type { BackupTarget } from './target.ts'

export interface DeedsOptions {
  config: Config
  database: Database
  backend: Backend
  logger: Logger
  /** Who runs a command hears what a job's row has no room for. */
  onBackup?: (manifest: Manifest, failures: Failures) => void
  onRestore?: (report: RestoreReport) => void
  /** @param progress from 0 to 1 */
  onProgress?: (progress: number) => void
}

/** What a restore of `storage.backup_jobs` was asked for. */
type Asked = Pick<RestoreRequest, 'mode' | 'prefix' | 'intoBucket' | 'dryRun'>

/** Backups and restores of this server's data, in the targets that jobs name. */
export class Deeds implements BackupDeeds {
  constructor(private readonly options: DeedsOptions) {}

  async backup({ job, signal, note }: JobRun): Promise<BackupCounts> {
    const { config, database, backend, logger, onBackup, onProgress } = this.options
    const dataDir = resolve(config.dataDir)
    const target = await openTarget(job.target, config, { forWriting: true })
    try {
      await this.#removeAbandoned(target)
      const parent = job.parent === null ? null : await this.#findParent(target, job.id, job.parent)
      const parts: BackupParts = {
        database,
        backend,
        target,
        cluster: config.databaseUrl === undefined ? await findCluster(dataDir) : null,
        scratchDir: dataDir,
        share: config.backup.share,
        logger,
      }
      const { manifest, failures } = await runBackup(parts, {
        id: job.id,
        job: job.id,
        parent,
        buckets: job.buckets,
        // Any second from then on can be restored, so that all of it has to be there.
        former: config.backup.log ? ALL_FORMER : { versions: job.includeVersions, trash: job.includeTrash },
        ...(job.request.withKeys === true && { keysFile: join(dataDir, 'keys.json') }),
        ...(job.description !== '' && { description: job.description }),
        signal,
        onProgress: (progress, counts) => {
          note(progress, counts)
          onProgress?.(progress)
        },
      })
      onBackup?.(manifest, failures)
      return contentOf(manifest)
    } finally {
      await target.close()
    }
  }

  async restore({ job, signal, note }: JobRun): Promise<BackupCounts> {
    const { config, database, backend, logger, onRestore } = this.options
    const target = await openTarget(job.target, config)
    try {
      const manifest = await readManifest(target, job.parent ?? '')
      const request: RestoreRequest = {
        ...(job.request as unknown as Asked),
        manifest,
        buckets: job.buckets,
        signal,
        onProgress: (done, report) => note(done / Math.max(1, manifest.totals.objects), countsOf(report)),
      }
      const parts = { database, backend, target, inlineSize: config.inlineSize, logger }
      const report = await restoreObjects(parts, request)
      onRestore?.(report)
      return countsOf(report)
    } finally {
      await target.close()
    }
  }

  async findWhole({ id, target: name }: BackupJob): Promise<BackupCounts | null> {
    try {
      const target = await openTarget(name, this.options.config)
      return await readManifest(target, id)
        .then(contentOf)
        .finally(() => target.close())
    } catch (err) {
      if (!hasFault(err, 'NoSuchBackup')) {
        this.options.logger.warn({ err, backup: id }, 'whether a backup is whole cannot be told')
      }
      return null
    }
  }

  async remove({ id, target: name }: BackupJob): Promise<void> {
    const target = await openTarget(name, this.options.config)
    try {
      await deleteBackup(target, id)
    } catch (error) {
      if (!hasFault(error, 'NoSuchBackup')) throw error
      await target.removeAll(`${id}/`) // one that has failed
    } finally {
      await target.close()
    }
  }

  async idsIn(name: string): Promise<string[]> {
    const target = await openTarget(name, this.options.config)
    try {
      return await backupsIn(target)
    } finally {
      await target.close()
    }
  }

  /** Null when somebody has taken it away, or its list cannot be read here: it is a full backup then. */
  async #findParent(target: BackupTarget, job: string, id: string): Promise<Manifest | null> {
    try {
      const manifest = await readManifest(target, id)
      ;(await target.read(`${id}/${BYTES}`)).destroy()
      return manifest
    } catch (error) {
      const reason = error instanceof BackupError ? WHY_FULL.get(error.fault) : undefined
      if (reason === undefined) throw error
      const { database, logger } = this.options
      logger.warn(
        { backup: job, parent: id, err: error },
        `an incremental backup is made as a full one: ${reason}`,
      )
      await noteFull(database, job, `It is a full backup, as ${reason}`)
      return null
    }
  }

  /** Room that killed backups take is not missed by the next one. */
  async #removeAbandoned(target: BackupTarget): Promise<void> {
    const { database, logger } = this.options
    const fateOf = async (id: string): Promise<Fate> => {
      const job = await asService(database, (tx) => findJob(tx, id))
      if (job === null) return 'unknown'
      return UNDER_WAY.has(job.status) ? 'under way' : 'ended'
    }
    try {
      const removed = await removeAbandoned(target, fateOf)
      if (removed.length > 0) logger.info({ backups: removed }, 'what killed backups have left was removed')
    } catch (err) {
      logger.warn({ err }, 'what killed backups have left could not be removed')
    }
  }
}

/** By the fault that a look at a parent has met: what keeps it from being one. */
const WHY_FULL = new Map<BackupFault, string>([
  ['NoSuchBackup', 'the one that it was to build on is not there any more'],
  ['WrongKey', 'the list of the one before it can only be read with its identity (STORAGE_BACKUP_IDENTITY)'],
])

const UNDER_WAY = new Set(['pending', 'running', 'restoring'])

function contentOf({ totals, damaged }: Manifest): BackupCounts {
  return { objectCount: totals.objects, totalBytes: totals.bytes, damaged }
}

function countsOf({ created, replaced, bytes, failures }: RestoreReport): BackupCounts {
  return { objectCount: created + replaced, totalBytes: bytes, damaged: failures.count }
}

/** Where the embedded PostgreSQL is, which runs, as its database is open; null where an embedder has given another one. */
export async function findCluster(dataDir: string): Promise<BackupParts['cluster']> {
  const clusterDir = join(dataDir, 'postgres')
  if (!existsSync(clusterDir)) return null
  const address = await findRunning(clusterDir)
  if (address === undefined) throw new EmbeddedPostgresError('The built-in PostgreSQL does not run')
  return { address, folder: await realpath(clusterDir) }
}
