import type postgres from '#postgres'
import { type ErrorCode, StorageError } from '../../model/errors.ts'

/*
 * Users' own policies, triggers and constraints are asked in our statements, and what fails in them is theirs: whoever
 * wrote them has to read it, and what they raise is meant for the client. PostgreSQL does not say whose a failure is, but
 * our statements have values that were checked; so what is left is theirs, but for the breach of our own constraints.
 */

/** Ours, and what a Supabase database calls the same. */
const OWN_UNIQUE = new Set([
  'buckets_pkey',
  'buckets_name_key',
  'bname',
  'objects_pkey',
  'bucketid_objname',
  'idx_name_bucket_level_unique',
  'lifecycle_policies_bucket_id_key',
])

/** The references that are ours, to a bucket: from objects, by either name, from what was there of them, and from its policy. */
const OWN_REFERENCE = new Set([
  'objects_bucket_id_fkey',
  'objects_bucketId_fkey',
  'object_versions_bucket_id_fkey',
  'lifecycle_policies_bucket_id_fkey',
])

/** Wire §1.7; what is not here is `DatabaseError`, unless it was raised. */
const BROKEN: Record<string, ErrorCode> = {
  '22P02': 'InvalidParameter', // such as `auth.uid()` over a subject that is no UUID
  '42703': 'DatabaseSchemaMismatch',
  '42P01': 'DatabaseSchemaMismatch',
  '42883': 'DatabaseSchemaMismatch',
  '42P17': 'DatabaseInvalidObjectDefinition',
}

/** In UTF-16 code units, of each part of what PostgreSQL says. */
const MAX_TEXT = 1000

/** What a statement of a caller's has met in users' own rules, as one of our errors. Class 23 is `fromConstraint`'s. */
export function fromUsersRule(error: postgres.PostgresError): StorageError {
  const { code } = error
  if (code === 'P0001') return asSpoken(error)
  const status = Number(/^PT([45]\d\d)$/.exec(code)?.[1])
  if (status) return asSpoken(error, status)
  return asFailure(BROKEN[code] ?? (isRaised(error) ? 'RefusedByRule' : 'DatabaseError'), error)
}

/** The breach of a constraint (class 23), ours or a user's. */
export function fromConstraint(error: postgres.PostgresError): StorageError {
  const { code, constraint_name: constraint = '', schema_name: schema, table_name: table } = error
  if (schema === 'storage' && code === '23505' && OWN_UNIQUE.has(constraint)) {
    return new StorageError('ResourceAlreadyExists', { cause: error })
  }
  if (schema === 'storage' && code === '23503' && OWN_REFERENCE.has(constraint)) {
    return new StorageError('BucketReference', { cause: error })
  }
  // 23001 is what PostgreSQL 18 says of RESTRICT. Which side of the reference it is about stands in the sentence alone.
  const referenced = /^update or delete on table "(object|bucket)s" violates/.exec(error.message)?.[1]
  if (referenced && (code === '23503' || code === '23001')) {
    const message = `The ${referenced} is still referenced by the table ${schema}.${table}, constraint ${constraint}`
    return new StorageError('ResourceReferenced', { cause: error, message })
  }
  if (code === '23505') return asFailure('UniqueInRule', error)
  if (code === '23503') return asFailure('MissingInRule', error)
  return asFailure('RefusedByRule', error)
}

/** A refusal (42501). The one by RLS gets the sentence that clients compare, without the table's name. */
export function fromDenial(error: postgres.PostgresError): StorageError {
  const { message } = error
  if (!/row-level security/.test(message)) {
    return new StorageError('AccessDenied', { cause: error, message: spoken(error) })
  }
  const isOfOurs = !/ for table "/.test(message) || / for table "(?:objects|buckets)"$/.test(message)
  return isOfOurs ? new StorageError('AccessDenied', { cause: error }) : asFailure('AccessDenied', error)
}

/** What somebody has raised for the client to read. */
function asSpoken(error: postgres.PostgresError, status?: number): StorageError {
  return new StorageError('RefusedByRule', {
    cause: error,
    message: spoken(error),
    ...(status && { status }),
    ...(status === 401 && { headers: { 'WWW-Authenticate': 'Bearer' } }),
  })
}

function asFailure(code: ErrorCode, error: postgres.PostgresError): StorageError {
  const failure = `A policy, trigger or constraint of the database failed: ${spoken(error)} (SQLSTATE ${error.code})`
  const message = `${failure}${isNoUuid(error) ? SUB_ADVICE : ''}`
  return new StorageError(code, { cause: error, message })
}

/** What it nearly always is: tokens of another issuer, and policies that were written for Supabase's. */
const SUB_ADVICE = `. auth.uid() fails so when the token's sub is no UUID; auth.jwt()->>'sub' takes any`

function isNoUuid({ code, message }: postgres.PostgresError): boolean {
  return code === '22P02' && message.startsWith('invalid input syntax for type uuid')
}

function spoken(error: postgres.PostgresError): string {
  const { message, detail, hint } = error
  // PostgreSQL's own details hold values of rows; in class 22 its sentences do, and the caller may not see those rows.
  if (!isRaised(error)) return cut(error.code.startsWith('22') ? message.replace(/".*"/s, '"…"') : message)
  return [cut(message), detail && `Detail: ${cut(detail)}`, hint && `Hint: ${cut(hint)}`]
    .filter(Boolean)
    .join('\n')
}

/** Whether it was raised by a RAISE, so that all it says was meant to be said. */
function isRaised({ routine }: postgres.PostgresError): boolean {
  return routine === 'exec_stmt_raise'
}

function cut(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT).replace(/[\ud800-\udbff]$/, '')}…`
}
