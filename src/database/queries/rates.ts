import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'

/** What a server has let in of one client since it asked last. */
export interface Addition {
  kind: string
  client: string
  /** How long ago the first of it was, in milliseconds. */
  ageMs: number
  /** The time that the client's bucket takes to leak it, in milliseconds. */
  additionMs: number
}

/** A client's bucket, as all servers together have filled it. */
export interface SettledBucket {
  kind: string
  client: string
  /** The time until it is empty, in milliseconds. */
  leftMs: number
}

/** Tells what this server has let in, and hears what that makes with the others'. @throws DatabaseUnavailable */
export async function settleRates(database: Database, additions: Addition[]): Promise<SettledBucket[]> {
  const rows = await database.run(SETTLE, {
    kinds: additions.map(({ kind }) => kind),
    clients: additions.map(({ client }) => client),
    ages: additions.map(({ ageMs }) => ageMs),
    additions: additions.map(({ additionMs }) => additionMs),
  })
  return rows.map(({ kind, client, left_ms: leftMs }) => ({ kind, client, leftMs }))
}

const SETTLE = new Statement<
  { kinds: string[]; clients: string[]; ages: number[]; additions: number[] },
  { kind: string; client: string; left_ms: number }
>(
  `select * from storage.settle_rates(
    :kinds::text[], :clients::text[], :ages::double precision[], :additions::double precision[])`,
)

/** Takes away the buckets that are empty. @throws DatabaseUnavailable */
export async function forgetRates(database: Database): Promise<void> {
  await database.run(FORGET, {})
}

const FORGET = new Statement<object, object>('select storage.forget_rates()')
