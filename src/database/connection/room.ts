import type postgres from '#postgres'

/** Connections of a process: those of the pool, those for questions, and spare ones that it can do without. */
export interface Room {
  pool: number
  questions: number
  spare: number
}

/** What the processes of a server want. */
export interface Demand {
  /** Connections of the pool of each. */
  pool: number
  /** Connections that each opens besides where commits wait for a slow disk. */
  spare: number
  /** How many they are. */
  processes: number
}

/** By the settings. When there are several workers, the first process has connections, too. */
export function demandOf(settings: { databasePool: number; databaseSpare: number; workers: number }): Demand {
  const { databasePool: pool, databaseSpare: spare, workers } = settings
  return { pool, spare, processes: workers === 1 ? 1 : 1 + workers }
}

/** What PostgreSQL allows the login. */
export interface Allowance {
  connections: number
  /** What says so, for a human. */
  by: string
}

/** Others have the connections that a process wants besides. */
export interface Shortage {
  /** How many of the pool's there are. */
  has: number
  wanted: number
  /** PostgreSQL's own words. */
  reason: string
}

/** Each of them has a connection, as far as there is room. */
export const QUESTIONS_AT_ONCE = 4

/** One for events and resumable uploads, and one for the work that a server does by itself. */
const SESSIONS = 2

/** One of the pool, one for questions, and the sessions. */
const LEAST = 2 + SESSIONS

/** How many connections the login may have, if nobody else has any. */
export async function findAllowance(sql: postgres.Sql): Promise<Allowance> {
  const [allowance] = await sql<[Allowance]>`
    select connections, by from pg_roles r, pg_database d,
      lateral (values
        (current_setting('max_connections')::int - case when r.rolsuper then 0 else
          current_setting('superuser_reserved_connections')::int
          + coalesce(current_setting('reserved_connections', true)::int, 0) end, 'max_connections, without those reserved'),
        (case when r.rolconnlimit >= 0 and not r.rolsuper then r.rolconnlimit end, 'connection limit of the login'),
        (case when d.datconnlimit >= 0 and not r.rolsuper then d.datconnlimit end, 'connection limit of the database')
      ) as limits (connections, by)
    where r.rolname = current_user and d.datname = current_database() and connections is not null
    order by connections limit 1`
  return allowance
}

/**
 * What each process has of that. With less than is wanted, requests wait for those there are. There are no spare ones
 * but in the half that a server takes at most, since others want some, too.
 */
export function roomIn({ connections }: Allowance, { pool, spare, processes }: Demand): Room {
  const each = Math.floor(connections / processes)
  const room = atLeastOne(Math.min(pool, each - SESSIONS - QUESTIONS_AT_ONCE))
  const half = Math.floor(connections / 2 / processes)
  return {
    pool: room,
    questions: atLeastOne(Math.min(QUESTIONS_AT_ONCE, each - SESSIONS - room)),
    spare: Math.max(0, Math.min(spare, half - SESSIONS - QUESTIONS_AT_ONCE - room)),
  }
}

/** Why no server can do its work with that, and what to do; undefined when it can. */
export function whyNoRoom({ connections, by }: Allowance, { processes }: Demand): string | undefined {
  const needed = processes * LEAST
  if (connections >= needed) return undefined
  const who = processes === 1 ? 'a server needs' : `${processes} processes (STORAGE_WORKERS) need`
  return (
    `PostgreSQL allows ${connections} connections (${by}), and ${who} at least ${needed}: ` +
    'each one for transactions, one for lists, one for events and resumable uploads, and one for work of its own. Raise that limit'
  )
}

/** How much less that is than the settings want, and what to set; undefined when there is room for all. */
export function whyLittleRoom(allowance: Allowance, demand: Demand): string | undefined {
  const { connections, by } = allowance
  const beside = QUESTIONS_AT_ONCE + SESSIONS
  const wanted = demand.processes * (demand.pool + beside)
  if (connections >= wanted) return undefined
  const { pool, questions } = roomIn(allowance, demand)
  const fitting = Math.floor(connections / demand.processes) - beside
  return (
    `PostgreSQL allows ${connections} connections (${by}), and STORAGE_DATABASE_POOL=${demand.pool} wants ${wanted}: ` +
    `each process has a pool of ${pool}, and ${questions} for lists, and requests wait for those. ` +
    `Raise that limit${fitting > 0 ? `, or set STORAGE_DATABASE_POOL=${fitting}` : ''}`
  )
}

/** For the log, when others have taken what was there at the start. */
export function describeShortage({ has, wanted, reason }: Shortage): string {
  const answers =
    has === 0
      ? `requests are refused, since the pool has none of ${wanted}`
      : `requests wait for the ${has} of ${wanted} that the pool has`
  return `PostgreSQL has no place for another connection (${reason}): ${answers} (STORAGE_DATABASE_POOL), and it tries to get more`
}

function atLeastOne(count: number): number {
  return Math.max(1, count)
}
