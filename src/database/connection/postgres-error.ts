import { DrizzleQueryError } from 'drizzle-orm/errors'
import postgres from '#postgres'
import { type ErrorCode, StorageError } from '../../model/errors.ts'
import { fromConstraint, fromDenial, fromUsersRule } from './users-rules.ts'

/** SQLSTATE → our code (wire §1.7): the state of the database, and what a caller's values alone can be. */
const BY_SQLSTATE: Record<string, ErrorCode> = {
  '22021': 'InvalidParameter', // a NUL character in a text
  '22P05': 'InvalidParameter', // an escaped NUL in JSON
  '25006': 'DatabaseReadOnly',
  '40001': 'TransactionConflict',
  '40P01': 'TransactionConflict',
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
  SR001: 'UploadExpired', // ours, from storage.finish_upload
  SR002: 'TooManyUnfinished', // ours, from storage.bound_unfinished_uploads
  SR003: 'SkippedByTrigger', // ours, from storage.trial_write and storage.put_object_version
  SR004: 'NoSuchBucket', // ours, from storage.put_object_version
}

/** Those of ours whose sentence is for the client, from drizzle/functions/object-versions.sql. */
const TOLD_AS_IT_IS: Record<string, ErrorCode> = {
  SR005: 'InvalidParameter',
  SR006: 'ObjectLocked',
}

/** Classes about the server itself, whose sentences are an operator's matter. */
const ABOUT_THE_SERVER = /^(?:53|57|58|F0|XX)/

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
    const { code } = error
    const known = BY_SQLSTATE[code]
    if (known) return new StorageError(known, { cause: error })
    const told = TOLD_AS_IT_IS[code]
    if (told) return new StorageError(told, { cause: error, message: error.message })
    // A fatal error ends the session, or refuses it, such as 55000 of a database that takes no connections.
    if (code.startsWith('08') || error.severity === 'FATAL')
      return new StorageError('DatabaseUnavailable', { cause: error })
    if (code.startsWith('23')) return fromConstraint(error)
    if (code === '42501') return fromDenial(error)
    if (isOfParameter(error)) return new StorageError('InvalidParameter', { cause: error })
    if (ABOUT_THE_SERVER.test(code) || isOfDoor(error))
      return new StorageError('DatabaseError', { cause: error })
    return fromUsersRule(error)
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

/**
 * Whether a session is in another role than its login's, by what a statement of ours has met there: it may not call the very
 * function that it calls. A user's policy or trigger has set one for longer than its transaction, as by
 * `set_config('role', …, false)`.
 */
export function isOutOfRole({ code, routine, message }: postgres.PostgresError, statement: string): boolean {
  if (code !== '42501' || routine !== 'aclcheck_error') return false
  const called = /\bstorage\.(\w+)\(/.exec(statement)?.[1]
  return called !== undefined && message.includes(called) // in whatever language
}

/** Whether PostgreSQL could not read a value that was sent to it. */
function isOfParameter({ where }: postgres.PostgresError): boolean {
  return /^(?:unnamed portal|portal ".*") parameter /.test(where ?? '')
}

/** Whether nobody's rules have been asked yet: the transaction could not become the caller's. */
function isOfDoor({ where }: postgres.PostgresError): boolean {
  return /^PL\/pgSQL function (?:storage\.)?act_as\(/m.test(where ?? '')
}

function isConnectionLost(error: unknown): boolean {
  return error instanceof Error && 'code' in error && CONNECTION_LOST.has(String(error.code))
}
