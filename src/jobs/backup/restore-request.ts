import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Failures } from '../failures.ts'
import type { Manifest } from './manifest.ts'
import type { BackupTarget } from './target.ts'

/** What is asked of a restore into a store that is at work, and what it tells (restore-objects.ts, restore-versions.ts). */

export interface RestoreParts {
  database: Database
  backend: Backend
  target: BackupTarget
  /** Up to here bytes go into the database, in bytes. */
  inlineSize: number
  logger: Logger
}

export interface RestoreRequest {
  manifest: Manifest
  /**
   * `missing`: only objects whose names are free, or that are the very ones, with bytes that are lost or damaged;
   * `replace`: others become what they were, too. Nothing is deleted, and what was put back before is left as it is.
   */
  mode: 'missing' | 'replace'
  /** Ids of the only buckets that are wanted; null for all. */
  buckets: string[] | null
  /** Only objects whose names begin so. */
  prefix: string
  /** Another bucket than theirs, for objects of one bucket. */
  intoBucket: string | null
  /** Only count. */
  dryRun: boolean
  signal: AbortSignal
  /** @param done objects of the backup that were come by */
  onProgress?: (done: number, report: RestoreReport) => void
}

export interface RestoreReport {
  /** Objects that were not there, and are now, or would be. */
  created: number
  /** Objects that were others, or had lost their bytes, and are now what they were, or would be; and versions that had lost theirs. */
  replaced: number
  /** Objects that were left as they are: the same, or of a name that is taken. */
  kept: number
  bytes: number
  failures: Failures
}
