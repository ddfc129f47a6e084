import type { Caller } from '../../model/caller.ts'
import type { Lock, NewLock } from '../../model/object-lock.ts'
import type { WantedVersion } from '../../model/version-id.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { versionValues } from './objects.ts'

/** How a version is locked (drizzle/functions/locks.sql). */
export interface FoundLock extends Lock {
  /** The object's. */
  id: string
}

/**
 * Tells how a version is locked, after it has been locked as `lock` says, if that says anything.
 *
 * @param version undefined: what the name has now
 * @returns `marker` of what has no bytes; `kept` when the caller may see and not change it; null when there is none, or not for him
 * @throws InvalidParameter for what cannot be a lock, ObjectLocked for what would be a shorter one
 */
export async function setLock(
  connection: Pick<Database, 'run'> | Transaction,
  caller: Caller,
  object: { bucketId: string; name: string },
  version: WantedVersion | undefined,
  lock: NewLock,
): Promise<FoundLock | 'marker' | 'kept' | null> {
  const [row] = await connection.run(SET, {
    ...object,
    wanted: version === undefined ? null : versionValues(version).wanted,
    until: lock.retainUntil?.toISOString() ?? null,
    hold: lock.legalHold ?? null,
    context: callerContext(caller),
  })
  if (!row) return null
  if (row.outcome === 'there') return 'kept'
  if (row.outcome === 'marker') return 'marker'
  return {
    id: row.id,
    version: row.version,
    retainUntil: dateOrNull(row.retain_until),
    legalHold: row.legal_hold === true,
    lockedUntil: dateOrNull(row.locked_until),
    canBeLocked: row.can_be_locked === true,
  }
}

const SET = new Statement<
  {
    bucketId: string
    name: string
    wanted: string | null
    until: string | null
    hold: boolean | null
    context: string
  },
  {
    outcome: 'told' | 'there' | 'marker'
    id: string
    version: string
    retain_until: string | null
    legal_hold: boolean | null
    locked_until: string | null
    can_be_locked: boolean | null
  }
>('select * from storage.set_lock(:bucketId, :name, :wanted, :until, :hold, :context)')

/** Forgets locks that are over, of versions that are gone, at most `most`. */
export async function dropSpentLocks(database: Pick<Database, 'run'>, most: number): Promise<void> {
  await database.run(DROP_SPENT, { most })
}

const DROP_SPENT = new Statement<{ most: number }, object>('select storage.drop_spent_locks(:most)')

/** How many rows one statement looks at. */
const LOOKED_AT = 1000

/**
 * Whether anything in a bucket is locked, current or not, the trash too. It looks through all of the bucket, by and by: in a large one
 * that takes a while, and no statement does. For the service.
 */
export async function hasLocked(database: Pick<Database, 'run'>, bucketId: string): Promise<boolean> {
  for (const ofFormer of [false, true]) {
    let place: LockPlace | null = { name: '', sequence: '-1' }
    while (place) {
      const asked: LockQuestion = { bucketId, ofFormer, ...place, limit: LOOKED_AT }
      const [row] = await database.run(ANY_LOCKED, asked)
      if (row?.is_locked) return true
      place = row?.end_name == null ? null : { name: row.end_name, sequence: row.end_sequence ?? '-1' }
    }
  }
  return false
}

interface LockPlace {
  name: string
  sequence: string
}

interface LockQuestion extends LockPlace {
  bucketId: string
  ofFormer: boolean
  limit: number
}

const ANY_LOCKED = new Statement<
  LockQuestion,
  { is_locked: boolean; end_name: string | null; end_sequence: string | null }
>(
  'select * from storage.any_locked(:bucketId, :ofFormer::boolean, :name, :sequence::bigint, :limit::integer)',
)
