import type { BackupSettings } from '../../config/backup.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import {
  type BackupJob,
  type BackupType,
  deleteJob,
  findJob,
  insertJob,
  isInUse,
  listJobs,
} from '../../database/queries/backup-jobs.ts'
import { missingBuckets } from '../../database/queries/buckets.ts'
import { UUID, uuidV7 } from '../../lib/uuid.ts'
import { type Identity, requireService } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'

export interface BackupsOptions {
  database: Pick<Database, 'transaction'>
  settings: Pick<BackupSettings, 'enabled' | 'target'>
}

export interface BackupRequest {
  type: BackupType
  /** Ids; null is all. */
  buckets: string[] | null
  includeVersions: boolean
  includeTrash: boolean
  description: string
  /** Null is as the server that makes it is set. */
  retentionDays: number | null
}

/** What is to be brought back; kept in the row's `request` as it is. */
export interface RestoreRequest {
  /** Whether an object that is there stays, or is replaced. */
  mode: 'missing' | 'replace'
  /** Only these, by their ids; null is all of the backup. */
  buckets: string[] | null
  /** Only what begins so. */
  prefix: string
  /** Another bucket than the one that they were in, of which there is then one. */
  intoBucket: string | null
  /** Only counts. */
  dryRun: boolean
}

type Asker = Pick<Identity, 'role' | 'subject'>

/**
 * The coordinator for backups as they are asked for: each public method is one operation, and for the service alone. It writes
 * rows, which a server picks up (`jobs/backup/runner.ts`, decision 0058).
 */
export class Backups {
  readonly #options: BackupsOptions

  constructor(options: BackupsOptions) {
    this.#options = options
  }

  /** Has one made. @throws RoleNotAllowed, FeatureNotEnabled, NoSuchBucket, BackupRunning */
  async create(caller: Asker, request: BackupRequest): Promise<BackupJob> {
    this.#require(caller)
    return this.#asService(async (tx) => {
      await requireBuckets(tx, request.buckets ?? [])
      return insertJob(tx, {
        ...request,
        id: uuidV7(),
        kind: 'backup',
        target: this.#options.settings.target,
        parent: null,
        request: {},
        createdBy: nameOf(caller),
      })
    })
  }

  /** Backups and restores, the newest first; at most `limit`, those before one of them. @throws RoleNotAllowed */
  async list(
    caller: Asker,
    page: { before: string | null; limit: number; kind: BackupJob['kind'] | null },
  ): Promise<BackupJob[]> {
    requireService(caller)
    return this.#asService((tx) => listJobs(tx, page))
  }

  /** @throws RoleNotAllowed, NoSuchBackup */
  async get(caller: Asker, id: string): Promise<BackupJob> {
    requireService(caller)
    return this.#asService((tx) => found(tx, id))
  }

  /**
   * Deletes a backup, or forgets a restore. What lies in the target a server removes soon.
   *
   * @throws RoleNotAllowed, NoSuchBackup, BackupRunning, BackupInUse
   */
  async delete(caller: Asker, id: string): Promise<void> {
    requireService(caller)
    await this.#asService(async (tx) => {
      const { status } = await found(tx, id, { lock: true })
      if (status === 'running' || status === 'restoring') throw new StorageError('BackupRunning')
      if (await isInUse(tx, id)) throw new StorageError('BackupInUse')
      await deleteJob(tx, id)
    })
  }

  /**
   * Has a backup brought back, beside all that goes on.
   *
   * @throws RoleNotAllowed, FeatureNotEnabled, NoSuchBackup, BackupIncomplete, NoSuchBucket, InvalidRequest, BackupRunning
   */
  async restore(caller: Asker, id: string, request: RestoreRequest): Promise<BackupJob> {
    this.#require(caller)
    return this.#asService(async (tx) => {
      // Nobody deletes it until the row is there that says that it is needed.
      const backup = await found(tx, id, { lock: true })
      if (backup.kind !== 'backup') throw new StorageError('NoSuchBackup')
      if (backup.status !== 'completed') throw new StorageError('BackupIncomplete')
      const strange = request.buckets?.find((bucket) => backup.buckets?.includes(bucket) === false)
      if (strange !== undefined) {
        throw new StorageError('InvalidRequest', { message: `body/buckets ${strange} is not in the backup` })
      }
      if (request.intoBucket !== null) await requireBuckets(tx, [request.intoBucket])
      const { buckets, ...rest } = request
      return insertJob(tx, {
        id: uuidV7(),
        kind: 'restore',
        type: null,
        target: backup.target,
        parent: backup.id,
        description: '',
        buckets,
        includeVersions: backup.includeVersions,
        includeTrash: backup.includeTrash,
        request: rest,
        retentionDays: null,
        createdBy: nameOf(caller),
      })
    })
  }

  /** @throws RoleNotAllowed, FeatureNotEnabled */
  #require(caller: Asker): void {
    requireService(caller)
    if (this.#options.settings.enabled) return
    throw new StorageError('FeatureNotEnabled', {
      message: 'This server makes no backups: STORAGE_BACKUP_ENABLED is false',
    })
  }

  #asService<T>(work: (tx: Transaction) => Promise<T>): Promise<T> {
    return asService(this.#options.database, work)
  }
}

/** @throws NoSuchBackup */
async function found(tx: Transaction, id: string, options?: { lock: boolean }): Promise<BackupJob> {
  const job = UUID.test(id) ? await findJob(tx, id, options) : null
  if (!job) throw new StorageError('NoSuchBackup')
  return job
}

/** @throws NoSuchBucket */
async function requireBuckets(tx: Transaction, ids: string[]): Promise<void> {
  const [missing] = await missingBuckets(tx, ids)
  if (missing === undefined) return
  throw new StorageError('NoSuchBucket', { message: `There is no bucket ${missing}` })
}

function nameOf({ subject, role }: Asker): string {
  return subject ?? role
}
