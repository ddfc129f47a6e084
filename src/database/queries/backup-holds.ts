import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { Database } from '../connection/client.ts'
import { ask, isPast, transactionHorizon } from './drift.ts'

/**
 * Holds: while there is one, nobody removes bytes that a row has named. They stay on `storage.removals` (decision 0058).
 *
 * Bytes go only after a transaction that has taken their row away. It is told in that transaction whether they may
 * (`storage.own_removals`), and is so by a statement that comes after its first write. So it either sees the hold, or had
 * begun to write before the hold was there: those are waited for, without a lock.
 */

export interface Hold {
  /** Such as the backup's id. Whoever holds by a name that is there has it from then on. */
  name: string
  /** The job with which it ends; null when it stays until it is released. */
  job: string | null
}

export interface HoldWaiting {
  /** Ends the wait, and the hold with it. */
  signal: AbortSignal
  /** Hears which transactions are waited for, when that takes long; again every now and then. */
  onWait?: (transactions: OpenTransaction[]) => void
}

export interface OpenTransaction {
  /** Of the process in PostgreSQL; null of a prepared one. */
  pid: number | null
  /** As the application calls itself, or else its login; or how a prepared one is called. */
  application: string | null
  /** Null when the server's login is not told, or of a prepared one. */
  state: string | null
  /** How long it has been open; null when the server's login is not told. */
  seconds: number | null
}

/** Between two looks at the transactions, in milliseconds. */
const PAUSE_MS = 50

/** After so many milliseconds the waiting is told of, and as often again. */
const TELL_AFTER_MS = 5000

/** So many of those that are waited for are named. */
const MOST_NAMED = 5

/**
 * Keeps all bytes that rows name from now on from being removed. What the database shows after this has all its bytes until
 * the hold ends.
 *
 * @returns a point in the order of transactions (`transactionHorizon`): what is on `storage.removals` by an earlier one no row
 *   named any more when this resolved, and its bytes may be gone
 * @throws the signal's reason, DatabaseUnavailable; the hold is taken back then, if it can be
 */
export async function holdRemovals(
  database: Database,
  { name, job }: Hold,
  { signal, onWait }: HoldWaiting,
): Promise<string> {
  signal.throwIfAborted()
  await ask(
    database,
    sql`insert into storage.backup_holds (name, job) values (${name}, ${job})
      on conflict (name) do update set job = excluded.job, created_at = now()`,
  )
  try {
    const horizon = await transactionHorizon(database)
    let tellAt = performance.now() + TELL_AFTER_MS
    while (!(await isPast(database, horizon))) {
      if (performance.now() >= tellAt) {
        onWait?.(await openTransactions(database))
        tellAt = performance.now() + TELL_AFTER_MS
      }
      await delay(PAUSE_MS, undefined, { signal })
    }
    return horizon
  } catch (error) {
    // Else it ends with its job.
    await releaseHold(database, name).catch(() => {})
    throw error
  }
}

/** Ends a hold; none of that name is a success. What has come onto the list meanwhile is for `finishHeldRemovals`. */
export async function releaseHold(database: Database, name: string): Promise<void> {
  await ask(database, sql`delete from storage.backup_holds where name = ${name}`)
}

/** Whether a hold is still there: it ends with its job when the job is taken for dead. */
export async function isHeld(database: Database, name: string): Promise<boolean> {
  const rows = await ask(database, sql`select name from storage.backup_holds where name = ${name}`)
  return rows.length > 0
}

/** Ends holds whose job does not run any more. Returns how many. */
export async function forgetHolds(database: Database): Promise<number> {
  const rows = await ask(
    database,
    sql`delete from storage.backup_holds h where h.job is not null and not exists (
      select from storage.backup_jobs j where j.id = h.job and j.status in ('running', 'restoring')
    ) returning h.name`,
  )
  return rows.length
}

/** Those that write and began first. Who has which transaction is told to everybody, as locks are. */
function openTransactions(database: Database): Promise<OpenTransaction[]> {
  return ask<OpenTransaction>(
    database,
    sql`select l.pid, coalesce(nullif(a.application_name, ''), a.usename, p.gid) as application, a.state,
        extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::int as seconds
      from pg_locks l
        left join pg_stat_activity a on a.pid = l.pid
        left join pg_prepared_xacts p on l.pid is null and p.transaction = l.transactionid
      where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted and l.pid is distinct from pg_backend_pid()
      order by age(l.transactionid) desc limit ${MOST_NAMED}`,
  )
}
