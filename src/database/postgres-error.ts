import { DrizzleQueryError } from 'drizzle-orm/errors'
import postgres from 'postgres'
import { type ErrorCode, StorageError } from '../errors.ts'

/** SQLSTATE → our code (contract §1.7). What a caller's statement may meet under users' own policies and triggers. */
const BY_SQLSTATE: Record<string, ErrorCode> = {
  '23505': 'ResourceAlreadyExists',
  '23503': 'ResourceReferenced',
  '22021': 'InvalidParameter', // a NUL character in a text
  '22P02': 'InvalidParameter',
  '22P05': 'InvalidParameter', // an escaped NUL in JSON
  '25006': 'DatabaseReadOnly',
  '40001': 'TransactionConflict',
  '40P01': 'TransactionConflict',
  '42501': 'AccessDenied',
  '42703': 'DatabaseSchemaMismatch',
  '42P01': 'DatabaseSchemaMismatch',
  '42883': 'DatabaseSchemaMismatch',
  '42P17': 'DatabaseInvalidObjectDefinition',
  '28000': 'DatabaseUnavailable', // the login, refused at a new connection
  '28P01': 'DatabaseUnavailable',
  '3D000': 'DatabaseUnavailable', // the database itself is missing
  '53100': 'StorageFull',
  '53200': 'TooManyConnections', // memory: the table of locks is full
  '53300': 'TooManyConnections',
  '55P03': 'ResourceLocked',
  '57014': 'DatabaseTimeout',
  '57P01': 'DatabaseUnavailable',
  '57P02': 'DatabaseUnavailable',
  '57P03': 'DatabaseUnavailable',
  SR001: 'UploadGivenUp', // ours, from storage.finish_upload
  SR002: 'TooManyUnfinished', // ours, from storage.bound_unfinished_uploads
}

/** Codes of the driver and the operating system for a connection that is not there or went away. */
const CONNECTION_LOST = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNRESET',
  'EMFILE', // no descriptor is free for it
  'ENFILE',
  'ENOENT',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
])

/**
 * What PostgreSQL or its driver threw, as one of our errors, with its cause kept for the log. Ours pass through,
 * and so does what neither of them threw.
 */
export function fromPostgres(thrown: unknown): unknown {
  if (thrown instanceof StorageError) return thrown
  const error = thrown instanceof DrizzleQueryError ? thrown.cause : thrown
  if (error instanceof postgres.PostgresError) {
    // A fatal error ends the session, or refuses it, such as 55000 of a database that takes no connections.
    const isGone = error.code.startsWith('08') || error.severity === 'FATAL'
    const code = BY_SQLSTATE[error.code] ?? (isGone ? 'DatabaseUnavailable' : 'DatabaseError')
    if (code === 'AccessDenied') {
      // A refusal by RLS gets the sentence that clients compare, without the table's name; any other
      // refusal (a missing grant, a user's trigger) speaks for itself.
      return /row-level security/.test(error.message)
        ? new StorageError(code, { cause: error })
        : new StorageError(code, { cause: error, message: error.message })
    }
    return new StorageError(code, { cause: error })
  }
  if (isConnectionLost(error)) return new StorageError('DatabaseUnavailable', { cause: error })
  // Not Drizzle's wrapping, whose message holds all parameters, the caller's token among them.
  return error
}

/** Awaits a query, and throws what it throws as one of our errors. */
export async function inOurErrors<T>(query: PromiseLike<T>): Promise<T> {
  try {
    return await query
  } catch (thrown) {
    throw fromPostgres(thrown)
  }
}

/**
 * Whether the database has certainly undone the transaction that threw this. A lost connection leaves it open:
 * the commit may have been under way.
 */
export function isCertainlyRolledBack(thrown: unknown): boolean {
  const error = thrown instanceof DrizzleQueryError ? fromPostgres(thrown) : thrown
  const cause = error instanceof StorageError ? error.cause : error
  if (cause instanceof postgres.PostgresError)
    return !cause.code.startsWith('57P') && !cause.code.startsWith('08')
  // The driver's own errors are ours by now; an ECONNRESET that is not is the client's connection.
  return !(error instanceof StorageError && error.code === 'DatabaseUnavailable')
}

/** The SQLSTATE behind an error of ours, if there is one. */
export function sqlState(error: unknown): string | undefined {
  const cause = error instanceof StorageError ? error.cause : error
  return cause instanceof postgres.PostgresError ? cause.code : undefined
}

function isConnectionLost(error: unknown): boolean {
  return error instanceof Error && 'code' in error && CONNECTION_LOST.has(String(error.code))
}
