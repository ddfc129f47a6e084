import type postgres from 'postgres'
import { QUESTIONS_AT_ONCE } from './questions.ts'

/** Connections of a process: those of the pool, and those for questions. */
export interface Room {
  pool: number
  questions: number
}

/** What PostgreSQL allows the login. */
export interface Allowance {
  connections: number
  /** What says so, for a human. */
  by: string
}

/** One for events, one for resumable uploads, and one for the work that a server does by itself. */
const SESSIONS = 3

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
 * What each process has of that. With less than is wanted, requests wait for those there are.
 *
 * @param pool wanted, of each process
 * @param processes that share it
 */
export function roomIn({ connections }: Allowance, pool: number, processes: number): Room {
  const each = Math.floor(connections / processes)
  const room = atLeastOne(Math.min(pool, each - SESSIONS - QUESTIONS_AT_ONCE))
  return { pool: room, questions: atLeastOne(Math.min(QUESTIONS_AT_ONCE, each - SESSIONS - room)) }
}

function atLeastOne(count: number): number {
  return Math.max(1, count)
}
