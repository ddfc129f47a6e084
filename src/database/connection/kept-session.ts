import { randomBytes } from 'node:crypto'
import type postgres from '#postgres'

/** A pooler keeps us from having a session for ourselves. */
export abstract class PoolerError extends Error {}

/** It gives the same session to others, too, so that nothing can be held in it. */
export class SharedSessionsError extends PoolerError {
  override readonly name = 'SharedSessionsError'
  constructor() {
    super('A pooler gives each transaction another session, where one has to be kept')
  }
}

/** It answers where PostgreSQL itself did at the start. */
export class NewPoolerError extends PoolerError {
  override readonly name = 'NewPoolerError'
  constructor(options: ErrorOptions) {
    super('A pooler answers where PostgreSQL itself did', options)
  }
}

/** It has no room for another session. */
export class NoSessionError extends Error {
  override readonly name = 'NoSessionError'
  constructor() {
    super(
      `The pooler of the database gives no further session within ${NO_SESSION_MS / 1000} s: ` +
        'raise its pool size (default_pool_size of PgBouncer) to STORAGE_DATABASE_POOL + 8 for each process',
    )
  }
}

/** It was lost while it was looked at, and the driver has made another connection since, with another session. */
export class SessionLostError extends Error {
  override readonly name = 'SessionLostError'
  /** As the driver says it of a query. */
  readonly code = 'CONNECTION_CLOSED'
  constructor() {
    super('The connection was lost while it was looked at')
  }
}

/** How long a second session may take to come. A pooler lets one wait that has no room. In milliseconds. */
const NO_SESSION_MS = 10_000

/** So often two connections are compared: a busy pooler, or one that goes around, may give one the same session twice. */
const ROUNDS = 5

/**
 * Sees to it that a connection has its session for itself. PostgreSQL says at the login which process serves the
 * connection. If that one answers, nothing stands between; each pooler has made up a number of its own.
 *
 * Else two connections are compared, one of which holds a lock. It must always be served by the process that it was at
 * first, and the other one never, not even in a transaction that makes the pooler look for a free one.
 *
 * @param sql one connection
 * @param connect opens another one
 * @param lost aborted when the one connection is lost
 * @throws SharedSessionsError, NoSessionError, SessionLostError
 */
export async function checkKept(
  sql: postgres.Sql,
  connect: () => postgres.Sql,
  lost: AbortSignal,
): Promise<void> {
  if (await isDirect(sql)) return
  const key = randomBytes(8).readBigInt64BE()
  const other = connect()
  try {
    // Taken before anything is compared: RDS Proxy keeps the session of whoever holds a lock, and of nobody else.
    const [first] = await sql.unsafe<Asked[]>(`select pg_backend_pid() as pid, pg_try_advisory_lock(${key})`)
    if (await isAlone(sql, other, first?.pid, key)) return
    throw lost.aborted ? new SessionLostError() : new SharedSessionsError()
  } finally {
    await sql.unsafe(`select pg_advisory_unlock(${key})`).catch(() => {}) // else it ends with its session
    await other.end({ timeout: 1 })
  }
}

/** Whether PostgreSQL itself is at the other end of a connection. */
export async function isDirect(sql: postgres.Sql): Promise<boolean> {
  const rows = await sql.unsafe<Asked[]>('select pg_backend_pid() as pid')
  return rows[0]?.pid === rows.state.pid
}

interface Asked {
  pid: number
}

async function isAlone(
  sql: postgres.Sql,
  other: postgres.Sql,
  pid: number | undefined,
  key: bigint,
): Promise<boolean> {
  const isTheSame = async () => {
    const [row] = await sql.unsafe<Asked[]>('select pg_backend_pid() as pid')
    return row?.pid === pid
  }
  const compare = () =>
    other.begin(async (tx) => {
      const [row] = await tx.unsafe<(Asked & { taken: boolean })[]>(
        `select pg_backend_pid() as pid, pg_try_advisory_xact_lock(${key}) as taken`,
      )
      if (row?.pid === pid) await tx.unsafe(`select pg_advisory_unlock(${key})`)
      return row?.taken === false && (await isTheSame())
    })
  await inTime(other.unsafe('select 1'))
  for (let round = 0; round < ROUNDS; round++) {
    if (!(await compare()) || !(await isTheSame()) || !(await isTheSame())) return false
  }
  return true
}

/** @throws NoSessionError */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoSessionError()), NO_SESSION_MS)
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}
