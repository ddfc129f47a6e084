import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type postgres from '#postgres'
import { type ConnectionOptions, connectTo, sessionSettings } from './connection.ts'
import { checkKept, NewPoolerError } from './kept-session.ts'
import type { Endpoint } from './place.ts'
import { sqlState } from './postgres-error.ts'

/** One connection, for as long as it lasts. */
export interface Session {
  sql: postgres.Sql
  /** Aborted when the connection is lost, and all that it held with it. */
  lost: AbortSignal
  close(): Promise<void>
}

export interface SessionOptions {
  /** How long an answer may take, in milliseconds; any time when left out. */
  timeoutMs?: number | undefined
  /** Hears what NOTIFY sends to the channels that the session listens to. */
  onNotify?: ((channel: string, payload: string) => void) | undefined
}

/**
 * Opens a session that is ours alone until it is closed or lost, and sees to it that it is.
 *
 * @throws PoolerError, NoSessionError, or what the driver throws
 */
export async function openSession(
  endpoint: Endpoint,
  { timeoutMs, onNotify }: SessionOptions = {},
): Promise<Session> {
  const lost = new AbortController()
  setMaxListeners(0, lost.signal) // each lock of the session listens
  const connect = (options: ConnectionOptions) =>
    connectTo(endpoint, { max: 1, ...options, ...(timeoutMs !== undefined && { timeoutMs }) })
  const sql = connect({
    idle_timeout: 0,
    onclose: () => lost.abort(),
    ...(onNotify && { onnotify: onNotify }),
  })
  const session = { sql, lost: lost.signal, close: () => sql.end({ timeout: 1 }) }
  try {
    await checkKept(sql, () => connect({}), lost.signal)
    if (endpoint.isPooler) await sql.unsafe(`${sessionSettings('session')}; ${markSession()}`)
    return session
  } catch (error) {
    await session.close()
    throw !endpoint.isPooler && isUnheeded(error) ? new NewPoolerError({ cause: error }) : error
  }
}

/** What tells this session from the next one that a pooler makes of the same process (0024_turns_behind_poolers.sql). */
function markSession(): string {
  const lock = randomBytes(8).readBigInt64BE()
  return `set strongroom.session = '${lock}'; select pg_advisory_lock(${lock})`
}

/** Whether what is said at the login was refused, as no PostgreSQL does: PgBouncer's "unsupported startup parameter". */
function isUnheeded(error: unknown): boolean {
  return sqlState(error) === '08P01'
}
