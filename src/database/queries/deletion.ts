import type { Transaction } from '../connection/drizzle.ts'
import { Statement } from '../connection/statement.ts'

/**
 * What becomes of objects that are deleted (decision 0070): by `purge` they go for good, by `erase` with all that their names had
 * before; by `replace` they leave a version at most, since another one takes their name; else it is as their bucket says, which by
 * `trash <days>` has a trash.
 */
export type Deletion = 'purge' | 'erase' | 'replace' | `trash ${number}` | 'as the bucket says'

/** Says it for what the transaction deletes from here on. */
export async function sayDeletion(tx: Pick<Transaction, 'run'>, deletion: Deletion): Promise<void> {
  await tx.run(SAY, { deletion: settingOf(deletion) ?? '' })
}

/** As it is said in the database; null where nothing is. */
export function settingOf(deletion: Deletion): string | null {
  return deletion === 'as the bucket says' ? null : deletion
}

const SAY = new Statement<{ deletion: string }, object>(
  "select set_config('storage.deletion', :deletion, true)",
)
