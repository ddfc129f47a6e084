import type { Transaction } from '../connection/drizzle.ts'
import { Statement } from '../connection/statement.ts'

/**
 * What becomes of objects that are deleted (decision 0070): by `purge` they go for good, by `replace` they leave a version at
 * most, since another one takes their name; else it is as their bucket says.
 */
export type Deletion = 'purge' | 'replace' | 'as the bucket says'

/** Says it for what the transaction deletes from here on. */
export async function sayDeletion(tx: Pick<Transaction, 'run'>, deletion: Deletion): Promise<void> {
  await tx.run(SAY, { deletion: deletion === 'as the bucket says' ? '' : deletion })
}

const SAY = new Statement<{ deletion: string }, object>(
  "select set_config('storage.deletion', :deletion, true)",
)
