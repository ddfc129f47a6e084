import type { DatabasePlace } from '../../database/connection/place.ts'
import type { BackupCounts, BackupJob } from '../../database/queries/backup-jobs.ts'
import { BackupError, type BackupFault } from '../../jobs/backup/backup-error.ts'
import { type ErrorCode, StorageError } from '../../model/errors.ts'

// What a server and the process that makes a backup for it say to each other, on the channel that Node opens between them.

/** The answer to `ready`, and at any time after it `stop`. */
export type ToBackupProcess =
  | { type: 'do'; job: BackupJob; database: DatabasePlace; logLevel: string }
  | { type: 'stop' }

/** First `ready`, since Node drops what comes before somebody listens; last `done` or `failed`. */
export type FromBackupProcess =
  | { type: 'ready' }
  | { type: 'note'; progress: number; counts: BackupCounts }
  | { type: 'log'; line: string }
  | { type: 'done'; counts: BackupCounts }
  | { type: 'failed'; failure: Failure }

/** An error, as far as it can be told. */
export interface Failure {
  message: string
  stack: string | undefined
  /** Of a `StorageError`. */
  code?: ErrorCode
  reason?: string
  /** Of a `BackupError`. */
  fault?: BackupFault
}

export function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { message: String(error), stack: undefined }
  const { message, stack } = error
  if (error instanceof StorageError) return { message, stack, code: error.code, reason: error.reason }
  return { message, stack, ...(error instanceof BackupError && { fault: error.fault }) }
}

export function errorOf({ message, stack, code, reason, fault }: Failure): Error {
  const error = code
    ? new StorageError(code, { message, cause: new Error(reason) })
    : fault
      ? new BackupError(fault, message)
      : new Error(message)
  if (stack !== undefined) error.stack = stack
  return error
}
