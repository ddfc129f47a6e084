import { asCaller } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import { fromPostgres } from '../../database/connection/postgres-error.ts'
import { type CurrentObject, findCurrent } from '../../database/queries/current-object.ts'
import { type NewObject, type Saved, upsertObjectOver } from '../../database/queries/save-object.ts'
import { type IntendedWrite, tryWrite } from '../../database/queries/trial-writes.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { holds, type WriteCondition } from '../../model/write-condition.ts'
import { validatorsOf } from '../object/stored-object.ts'

/*
 * A condition is judged by the row that the caller may see, and the write then replaces exactly that row, or none. When
 * another one has come between the two, PostgreSQL finds it at the write itself, and all is judged anew (decision 0027).
 */

/** So often others may change the object between its judgement and the write. */
const MOST_TRIES = 10

/** Another write has come between. */
export class Disturbed extends Error {}

/**
 * Judges a write in the transaction that carries it out. Who may not write anyway hears that, and nothing of what is
 * there.
 *
 * @returns what the write may replace
 * @throws PreconditionFailed, AccessDenied
 */
export async function judged(
  tx: Transaction,
  write: IntendedWrite,
  condition: WriteCondition,
): Promise<CurrentObject | null> {
  const current = await findCurrent(tx, write)
  if (holds(condition, current && validatorsOf(current))) return current
  await tryWrite(tx, write).catch((thrown: unknown) => {
    const error = fromPostgres(thrown)
    if (!hasCode(error, 'ResourceAlreadyExists')) throw error
  })
  throw new StorageError('PreconditionFailed')
}

/** The same before the body is read, so that nobody sends one in vain. It is judged again when it is here. */
export async function foretold(
  database: Database,
  caller: Caller,
  write: IntendedWrite,
  condition: WriteCondition,
): Promise<void> {
  await asCaller(database, caller, (tx) => judged(tx, write, condition))
}

/**
 * Awaits what asks the policies. That an object is there already is told by the condition that is about it, also of one
 * that has come since it was foretold.
 *
 * @throws PreconditionFailed, and what `asking` throws
 */
export async function asConditionSays<T>(
  asking: Promise<T>,
  { database, caller, write, condition }: ConditionalAsking,
): Promise<T> {
  try {
    return await asking
  } catch (error) {
    if (condition && hasCode(error, 'ResourceAlreadyExists'))
      await foretold(database, caller, write, condition)
    throw error
  }
}

interface ConditionalAsking {
  database: Database
  caller: Caller
  write: IntendedWrite
  condition: WriteCondition | undefined
}

/** Makes a row, or replaces what was judged. @throws AccessDenied when a row is there that the caller may not see */
export async function savedOver(
  tx: Transaction,
  object: NewObject,
  judgedRow: CurrentObject | null,
): Promise<Saved> {
  const saved = await upsertObjectOver(tx, object, judgedRow)
  if (saved && saved.created === (judgedRow === null)) return saved
  if (!saved) await tryWrite(tx, { ...object, upsert: true })
  throw new Disturbed()
}

/** Does what judges and writes, again and again until nothing comes between. @throws TransactionConflict */
export async function undisturbed<T>(transaction: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await transaction()
    } catch (error) {
      // Whoever has made the object first is judged the second time, unless the caller may not see it.
      const isDisturbed =
        error instanceof Disturbed || (tries === 1 && hasCode(error, 'ResourceAlreadyExists'))
      if (!isDisturbed) throw error
      if (tries === MOST_TRIES) throw new StorageError('TransactionConflict')
    }
  }
}
