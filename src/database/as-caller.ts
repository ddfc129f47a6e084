import { settleBoth } from '../lib/concurrency.ts'
import type { Caller } from '../model/caller.ts'
import { StorageError } from '../model/errors.ts'
import type { Database } from './connection/client.ts'
import type { Transaction } from './connection/drizzle.ts'
import { Statement } from './connection/statement.ts'

/** The unit separator of ASCII, which JSON has only escaped and HTTP not at all. */
const SEPARATOR = '\x1f'

const isAmbiguous = (text: string) => text.includes(SEPARATOR)

/**
 * All that PostgreSQL is told of a caller, in one value: the argument of `storage.act_as`, and the last one of each function
 * that becomes the caller itself (drizzle/functions/callers.sql, decision 0040).
 *
 * @throws InvalidParameter when a part of it would be taken for two
 */
export function callerContext(caller: Caller): string {
  const said = [
    caller.role,
    caller.subject ?? '',
    claimsText(caller.claims),
    caller.token,
    caller.operation,
    caller.method,
    caller.path,
    JSON.stringify(caller.headers),
    String(caller.userBuckets),
  ]
  const { traceparent, versionComment } = caller
  if (traceparent !== undefined || versionComment !== undefined) said.push(traceparent ?? '')
  if (versionComment !== undefined) said.push(versionComment)
  if (said.some(isAmbiguous)) {
    throw new StorageError('InvalidParameter', {
      message: 'The character U+001F is not allowed in what a token says',
    })
  }
  return said.join(SEPARATOR)
}

/** The claims of a token are one object for as long as it is remembered, and asked for with each request. */
const claimsTexts = new WeakMap<object, string>()

function claimsText(claims: Caller['claims']): string {
  let text = claimsTexts.get(claims)
  if (text === undefined) {
    text = JSON.stringify(claims)
    claimsTexts.set(claims, text)
  }
  return text
}

const ACT_AS = new Statement<{ context: string }, { started_at: string }>(
  'select storage.act_as(:context) as started_at',
)

/**
 * The door to the rows for a caller: runs `work` in a transaction that is the caller's, by role and claims. Both end
 * with it. `startedAt` is what `now()` is in there.
 *
 * The first statement of `work` is sent without waiting for that change of role. If PostgreSQL refuses the change, the
 * transaction has failed, and it runs nothing more.
 *
 * Questions of one round trip go past it: they call functions in the database (`read_row`, `page_entries_as`, …)
 * that become the caller there.
 *
 * @throws StorageError whatever PostgreSQL says, as ours
 */
export function asCaller<T>(
  database: Pick<Database, 'transaction'>,
  caller: Caller,
  work: (tx: Transaction, startedAt: Promise<Date>) => Promise<T>,
): Promise<T> {
  return database.transaction(async (tx) => {
    const startedAt = tx
      .run(ACT_AS, { context: callerContext(caller) })
      .then(([row]) => new Date(row?.started_at ?? Number.NaN))
    const working = async () => work(tx, startedAt) // what it throws at once is a rejection, too
    const [, result] = await settleBoth(startedAt, working())
    return result
  })
}

/**
 * The server's own door: work that nobody's policies judge, because no caller does it. A reviewer should look twice
 * at every use.
 */
export function asService<T>(
  database: Pick<Database, 'transaction'>,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  return database.transaction(async (tx) => {
    await becomeService(tx)
    return work(tx)
  })
}

/**
 * Ends the caller's part of a transaction: from here on the server itself acts, past RLS. Its deletes pass a
 * `storage.protect_delete()` trigger, as callers' do (wire §7.4, §7.5).
 */
export async function becomeService(tx: Transaction): Promise<void> {
  await tx.run(BECOME_SERVICE, {})
}

/**
 * Within a caller's transaction, which stays his: does what only the server itself may, such as to store the bytes of a row
 * that his policies have let him make.
 */
export async function asServiceWithin<T>(
  tx: Transaction,
  caller: Caller,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  await becomeService(tx)
  const result = await work(tx)
  // What triggers do at the end of the transaction they do as the caller.
  await tx.run(ACT_AS, { context: callerContext(caller) })
  return result
}

const BECOME_SERVICE = new Statement(
  `select set_config('role', 'service_role', true), set_config('storage.allow_delete_query', 'true', true)`,
)
