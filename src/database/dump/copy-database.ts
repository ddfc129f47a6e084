import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from '#postgres'
import type { Database } from '../connection/client.ts'
import { fromPostgres, sqlState } from '../connection/postgres-error.ts'
import type { Session } from '../connection/session.ts'
import { BEFORE, type Definitions, definitionsScript, readDefinitions } from './definitions.ts'
import { DumpError } from './dump-error.ts'
import { type Load, load, refuseLaterTables } from './load.ts'
import { EXACTLY, readLines } from './rows.ts'
import { openSnapshot, type Snapshot } from './snapshot.ts'

export interface DatabaseCopy {
  source: Database
  /** Makes the tables of the target what those of the source are, and opens it as who owns them. */
  openTarget(schema: string): Promise<postgres.Sql>
  /** Gets the script of what users have added, which is not run then. */
  writeDefinitions?: ((script: string) => Promise<void>) | undefined
  /** Hears how many rows are done, of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined
  signal?: AbortSignal | undefined
}

export interface CopyReport {
  /** How many rows of each table; those without any are left out. */
  rows: { table: string; count: number }[]
  /** What of users' went along, such as `policy reads on storage.objects`. */
  carried: string[]
  /** What of users' did not. */
  left: string[]
}

/** Tables whose rows say that a database has been used. */
const USED = ['buckets', 'objects', 'webhooks', 'credentials', 'removals', 'inline_bytes']

/**
 * Makes a new database what another one is at this moment: all rows of ours, with all ids, events and places of sinks, and
 * what users have added to them. In one transaction of the target, which is compared with the source before it ends; so when
 * anything fails, or all is killed, the target is as empty as it was. The source is only read, and nobody writes there
 * meanwhile.
 *
 * @throws DumpError when somebody serves the source, or the target has been used
 */
export async function copyDatabase(options: DatabaseCopy): Promise<CopyReport> {
  const { source } = options
  const guard = await source.openSession()
  let snapshot: Snapshot | undefined
  try {
    await refuseServed(guard)
    await lockOut(guard)
    const definitions = await readDefinitions(source.sql)
    snapshot = await openSnapshot(source, { for: 'move' })
    const target = await options.openTarget(snapshot.schema)
    await refuseUsed(target)
    await refuseLaterTables(target, snapshot.schema)
    const taken = snapshot
    const rows = await load(target, { isServed: false }, async (into) => {
      const copied = await copyRows(taken, into, options)
      if (!options.writeDefinitions) await define(into.sql, definitions)
      if (guard.lost.aborted) throw new DumpError('The connection that kept writers away was lost: try again')
      return copied
    })
    await options.writeDefinitions?.(definitionsScript(definitions))
    // Else what it plans is for tables without rows.
    for (const table of snapshot.tables) await target.unsafe(`analyze storage.${table}`)
    return {
      rows,
      carried: options.writeDefinitions ? [] : definitions.statements.map(({ what }) => what),
      left: definitions.left,
    }
  } finally {
    await snapshot?.close()
    await guard.close()
  }
}

/** So long a session may take to end whose server has ended just now, and how often it is looked for. In milliseconds. */
const ENDING_MS = 10_000
const LOOK_MS = 50

/** Whoever serves has sessions, whose name is our own. */
async function refuseServed({ sql }: Session): Promise<void> {
  const find = () => sql<{ pid: number; login: string }[]>`
    select pid, usename::text as login from pg_stat_activity
    where datname = current_database() and application_name = 'strongroom' and pid <> pg_backend_pid()
    order by backend_start`
  const giveUpAt = performance.now() + ENDING_MS
  let others = await find()
  while (others.length > 0 && performance.now() < giveUpAt) {
    await delay(LOOK_MS)
    others = await find()
  }
  const [first] = others
  if (!first) return
  throw new DumpError(
    `A Strongroom uses the database (${others.length} sessions, such as that of ${first.login} with pid ${first.pid}): ` +
      'stop all servers and commands on it first',
  )
}

/** Until the session ends nobody changes what is stored: not even a server that is started meanwhile. */
async function lockOut({ sql }: Session): Promise<void> {
  await sql.unsafe('begin; set local role service_role; set local lock_timeout = 5000')
  await sql.unsafe('set local idle_in_transaction_session_timeout = 0')
  try {
    const [found] = await sql<{ tables: string }[]>`
      select string_agg(t::text, ', ') as tables
      from unnest(array['buckets', 'objects', 'object_versions']) n (name), to_regclass('storage.' || n.name) t`
    await sql.unsafe(`lock table ${found?.tables} in share mode`) // one of before has not all of them
  } catch (error) {
    if (sqlState(fromPostgres(error)) !== '55P03') throw fromPostgres(error)
    throw new DumpError('Somebody is writing to the tables of the database: end that first', { cause: error })
  }
}

/** @throws DumpError */
async function refuseUsed(target: postgres.Sql): Promise<void> {
  for (const table of USED) {
    const [row] = await target.unsafe(`select exists (select from storage.${table}) as used`)
    if (!row?.used) continue
    throw new DumpError(
      `The target has rows of its own in storage.${table}, and has to be empty: name a new database (create database …)`,
    )
  }
}

async function copyRows(
  snapshot: Snapshot,
  into: Load,
  { onProgress, signal }: DatabaseCopy,
): Promise<CopyReport['rows']> {
  const counts = new Map<string, number>()
  for (const table of snapshot.tables) counts.set(table, await snapshot.count(table))
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0)
  let done = 0
  const passing = async function* (lines: AsyncIterable<string>) {
    for await (const line of lines) {
      signal?.throwIfAborted()
      if (done++ % 1000 === 0) onProgress?.(done, total)
      yield line
    }
  }
  await into.sql.unsafe(EXACTLY)
  // What a migration begins with, or a server that was started on it once.
  for (const table of snapshot.tables.toReversed()) await into.sql.unsafe(`delete from storage.${table}`)
  const copied: CopyReport['rows'] = []
  for (const table of snapshot.tables) {
    const read = new Digest(passing(snapshot.rows(table)))
    await into.rows(table, read, 'refuse')
    const written = new Digest(readLines({ sql: into.sql }, snapshot.shape(table)))
    for await (const _ of written) signal?.throwIfAborted()
    if (read.count !== counts.get(table) || !read.isSame(written)) {
      throw new DumpError(
        `The rows of storage.${table} are not the same in the target (${read.count} were read, ${written.count} are there): ` +
          'is it another encoding or collation, or does a rule of its own change them? Nothing was kept',
      )
    }
    if (read.count > 0) copied.push({ table, count: read.count })
  }
  onProgress?.(total, total)
  return copied
}

/** Lines that are counted and hashed as they pass. */
class Digest implements AsyncIterable<string> {
  readonly #lines: AsyncIterable<string>
  readonly #hash = createHash('sha256')
  count = 0

  constructor(lines: AsyncIterable<string>) {
    this.#lines = lines
  }

  async *[Symbol.asyncIterator](): AsyncIterator<string> {
    for await (const line of this.#lines) {
      this.count++
      this.#hash.update(line).update('\n')
      yield line
    }
  }

  /** Once both have been read to their end. */
  isSame(other: Digest): boolean {
    return this.count === other.count && this.#hash.digest().equals(other.#hash.digest())
  }
}

/** @throws DumpError naming what cannot be made */
async function define(tx: postgres.TransactionSql, { statements }: Definitions): Promise<void> {
  await tx.unsafe(BEFORE.replace('set ', 'set local '))
  for (const { what, sql, needs } of statements) {
    try {
      await tx.unsafe(sql).simple()
    } catch (error) {
      const needed = needs.length > 0 ? ` (it needs ${needs.join(', ')})` : ''
      throw new DumpError(
        `The target does not take the ${what}${needed}: ${(error as Error).message}. Make what is missing there first, or ` +
          'let what users have added go into a file with --definitions <file>. Nothing was kept',
        { cause: error },
      )
    }
  }
}
