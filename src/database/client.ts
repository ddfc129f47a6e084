import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres from 'postgres'
import { limitAnswers } from './answer-limit.ts'
import { HotReads } from './hot-reads.ts'
import { QUESTIONS_AT_ONCE, Questions } from './questions.ts'
import { takeTurn } from './turns.ts'

/** Where a PostgreSQL is, and who logs in: a URL, or the embedded one's socket. */
export type DatabaseAddress = string | { host: string; port: number; database: string; username: string }

/** The pool and Drizzle over it. Reads go through `sql`, writes through Drizzle transactions (design §10). */
export interface Database {
  address: DatabaseAddress
  sql: postgres.Sql
  /** For questions that find one row by its key. */
  hot: HotReads
  /** For lists and statistics, which may have much to read. */
  questions: Questions
  drizzle: PostgresJsDatabase
  /**
   * Runs `work` while this process has the turn of that name, on a connection of its own that is not of the pool.
   * Returns null when another session has the turn, at once or after `waiting`.
   *
   * The turn is lost with its connection, so `work` must be safe beside another's; it is told by the signal.
   *
   * @throws DatabaseUnavailable, the reason of `waiting.signal`
   */
  exclusively<T>(
    turn: string,
    work: (lost: AbortSignal) => Promise<T>,
    waiting?: TurnWaiting,
  ): Promise<T | null>
  /**
   * Opens a connection that is not of the pool, for what lives as long as a session does.
   *
   * @param onNotify hears what NOTIFY sends to the channels that the session listens to
   */
  openSession(onNotify?: (channel: string, payload: string) => void): Session
  close(): Promise<void>
}

/** How to wait for a turn that another session has. Who waits is the next to get it. */
export interface TurnWaiting {
  /** In milliseconds. */
  limitMs: number
  signal?: AbortSignal | undefined
}

/** One connection, for as long as it lasts. */
export interface Session {
  sql: postgres.Sql
  /** Aborted when the connection is lost, and all that it held with it. */
  lost: AbortSignal
  close(): Promise<void>
}

/** Connections that hot reads have for themselves, at most; they begin with half of what a pool has beyond four. */
const FOR_HOT_READS = 4

/** A statement that takes longer is one that nobody waits for any more (contract §7.5). */
const STATEMENT_TIMEOUT_MS = 30_000

/** How often a session that waits asks for its turn. In milliseconds. */
const TURN_RETRY_MS = 50

export interface DatabaseOptions {
  /** Most connections, without sessions and those for questions. */
  connections: number
  /** How long an answer may take, in milliseconds; any time when left out. Longer than statements may. */
  timeoutMs?: number
  /** How long the database may work on a question, in milliseconds. */
  questionMs?: number
}

const DEFAULT_QUESTION_MS = 5000

/** Opens a pool. Connects at the first query, and again by itself after a lost connection. */
export function openDatabase(
  address: DatabaseAddress,
  { connections, timeoutMs, questionMs = DEFAULT_QUESTION_MS }: DatabaseOptions,
): Database {
  const forHotReads = Math.min(FOR_HOT_READS, Math.max(0, Math.floor((connections - 4) / 2)))
  const settings: postgres.Options<Record<string, never>> = {
    max: connections - forHotReads,
    // A reconnecting pool asks at this pace; the default backs off for up to a minute.
    backoff: (attempt) => Math.min(0.05 * 2 ** attempt, 1),
    connect_timeout: 10,
    connection: { application_name: 'strongroom', statement_timeout: STATEMENT_TIMEOUT_MS, TimeZone: 'UTC' },
    onnotice: () => {},
  }
  const connect = (changes: typeof settings = {}) => {
    const sql =
      typeof address === 'string'
        ? postgres(address, { ...settings, ...changes })
        : postgres({ ...address, pass: '', ...settings, ...changes })
    drizzle(sql) // which sets how dates and JSON are read
    return timeoutMs === undefined ? sql : limitAnswers(sql, timeoutMs)
  }
  const sql = connect()
  const hot = new HotReads(
    Array.from({ length: forHotReads }, () => connect({ max: 1 })),
    sql,
  )
  const forQuestions = Array.from({ length: QUESTIONS_AT_ONCE }, () =>
    connect({ max: 1, connection: { ...settings.connection, statement_timeout: questionMs } }),
  )
  const questions = new Questions(
    forQuestions.map((client) => ({ sql: client, drizzle: drizzle(client) })),
    questionMs,
  )
  const openSession: Database['openSession'] = (onNotify) => {
    const lost = new AbortController()
    setMaxListeners(0, lost.signal) // each lock of the session listens
    // The driver replaces a connection after about an hour, and with it all that the session holds would go.
    const session = connect({
      max: 1,
      max_lifetime: null,
      idle_timeout: 0,
      onclose: () => lost.abort(),
      ...(onNotify && { onnotify: onNotify }),
    })
    return { sql: session, lost: lost.signal, close: () => session.end({ timeout: 1 }) }
  }
  return {
    address,
    sql,
    hot,
    questions,
    drizzle: drizzle(sql),
    openSession,
    exclusively: async (turn, work, waiting) => {
      const session = openSession()
      const giveUpAt = performance.now() + (waiting?.limitMs ?? 0)
      try {
        while (!(await takeTurn(session.sql, turn, waiting !== undefined))) {
          if (performance.now() >= giveUpAt) return null
          await delay(TURN_RETRY_MS)
          waiting?.signal?.throwIfAborted()
        }
        return await work(session.lost)
      } finally {
        await session.close()
      }
    },
    close: async () => {
      await Promise.all([sql.end({ timeout: 5 }), hot.close({ timeout: 5 }), questions.close({ timeout: 5 })])
    },
  }
}
