import { setTimeout as delay } from 'node:timers/promises'
import type postgres from '#postgres'
import { StorageError } from '../../model/errors.ts'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'
import { Commits } from './commits.ts'
import { type ConnectionOptions, connectTo } from './connection.ts'
import { GROUP_MS, GROUPS_AT_ONCE, GroupConnections } from './group-connections.ts'
import { NoSessionError, PoolerError } from './kept-session.ts'
import { PipelinedReads } from './pipelined-reads.ts'
import { type DatabaseAddress, type DatabasePlace, directly } from './place.ts'
import { Pool } from './pool.ts'
import { fromPostgres, inOurErrors } from './postgres-error.ts'
import { QuestionConnection, Questions } from './questions.ts'
import { QUESTIONS_AT_ONCE, type Shortage } from './room.ts'
import { selfContained } from './self-contained.ts'
import { openSession, type Session } from './session.ts'
import { SingleConnection } from './single-connection.ts'
import { traceQueries } from './traced-queries.ts'
import { takeTurn } from './turns.ts'

/**
 * The one door for SQL (decision 0041). Whoever uses it says what is asked and not where: each way has connections of
 * its own, a limit of time, and our errors.
 */
export interface Database extends Pick<Pool, 'sql' | 'run' | 'transaction'> {
  place: DatabasePlace
  /** Runs a statement that finds one row by its key, behind others of its kind. @throws StorageError */
  read: Pool['run']
  /** Runs a statement that stores something, on more connections where commits wait for a slow disk. @throws StorageError */
  commit: Pool['run']
  /** For statements that several callers share; null without spare connections, and behind a pooler. */
  groups: GroupConnections | null
  /** For lists and statistics, which may have much to read. */
  questions: Questions
  /**
   * Runs `work` while this process has the turn of that name, on a connection of its own that is not of the pool.
   * Returns null when another session has the turn, at once or after `waiting`.
   *
   * The turn is lost with its connection, so `work` must be safe beside another's; it is told by the signal. What it
   * asks by `sql` is asked by that very connection, and is not done once the turn is lost.
   *
   * @throws DatabaseUnavailable, the reason of `waiting.signal`
   */
  exclusively<T>(
    turn: string,
    work: (lost: AbortSignal, sql: postgres.Sql) => Promise<T>,
    waiting?: TurnWaiting,
  ): Promise<T | null>
  /**
   * Opens a connection that is not of the pool, for what lives as long as a session does.
   *
   * @param onNotify hears what NOTIFY sends to the channels that the session listens to
   * @throws DatabaseUnavailable
   */
  openSession(onNotify?: (channel: string, payload: string) => void): Promise<Session>
  /**
   * Opens what a process that answers requests cannot be without: a connection of the pool, and one for questions. They stay,
   * however many others take. Never fails.
   */
  takeRoom(): Promise<void>
  /** How many connections are open, sessions aside, how many of them are at work, and what waits for one. */
  load(): DatabaseLoad
  close(): Promise<void>
}

export interface DatabaseLoad {
  open: number
  busy: number
  waiting: number
}

/** How to wait for a turn that another session has. Who waits is the next to get it. */
export interface TurnWaiting {
  /** In milliseconds. */
  limitMs: number
  signal?: AbortSignal | undefined
}

/** Connections that pipelined reads have for themselves, at most; they begin with half of what a pool has beyond four. */
const FOR_READS = 4

/** A spare connection that nothing was asked for so long is closed: others may want its place. In seconds. */
const SPARE_IDLE_S = 60

/** How often a session that waits asks for its turn. In milliseconds. */
const TURN_RETRY_MS = 50

export interface DatabaseOptions {
  /** Most connections, without sessions and those for questions. Fewer where the place has no more room. */
  connections: number
  /** Most connections that are opened besides, for groups and where commits wait for a slow disk; none when left out. */
  spareConnections?: number
  /** How long an answer may take, in milliseconds; any time when left out. Longer than statements may. */
  timeoutMs?: number
  /** How long the database may work on a question, in milliseconds. */
  questionMs?: number
  /** PostgreSQL has no place for another connection, and this process goes on with those it has. Called now and then. */
  onShortage?: (shortage: Shortage) => void
  /** A pooler has come in between, or does its work in another way, so that sessions are not kept. Called once. */
  onPooler?: (error: PoolerError) => void
  /** Whose requests ask, where they are traced. Sessions are not. */
  tracing?: Tracing | undefined
}

const DEFAULT_QUESTION_MS = 5000

/** By then those connections that come about at the same moment are there. In milliseconds. */
const SETTLED_MS = 1000

/** A shortage that lasts is told of again after so long. In milliseconds. */
const REMINDER_MS = 600_000

/** Opens a pool. Connects at the first query, and again by itself after a lost connection. */
export function openDatabase(at: DatabaseAddress | DatabasePlace, options: DatabaseOptions): Database {
  const { connections: wanted, spareConnections = 0, timeoutMs, questionMs = DEFAULT_QUESTION_MS } = options
  const { onShortage, onPooler, tracing } = options
  const place = typeof at === 'object' && 'transactions' in at ? at : directly(at)
  const { isPooler } = place.transactions
  const connections = Math.min(wanted, place.room?.pool ?? wanted)
  const onrefused = tellNowAndThen(({ message: reason }: Error) =>
    onShortage?.({ has: pool.sql.countOpen() + reads.countOpen(), wanted: connections, reason }),
  )
  const connect = (options: ConnectionOptions) => {
    const given = { onrefused, ...options, ...(timeoutMs !== undefined && { timeoutMs }) }
    const connected = connectTo(place.transactions, given)
    const sql = tracing ? traceQueries(connected, tracing) : connected
    return isPooler ? selfContained(sql, given) : sql
  }
  // What pipelined reads gain by their own connections is lost where nothing is prepared, and nothing sent ahead.
  const forReads = isPooler ? 0 : Math.min(FOR_READS, Math.max(0, Math.floor((connections - 4) / 2)))
  const forWrites = connections - forReads
  const pool = new Pool(connect({ max: forWrites }))
  const clients = [pool.sql]
  const single = (options?: ConnectionOptions) => {
    const connection = new SingleConnection(connect, options)
    clients.push(connection.sql)
    return connection
  }
  const reads = new PipelinedReads(
    Array.from({ length: forReads }, () => single()),
    pool.sql,
  )
  // A pooler has connections of its own, which commits share; and its session may be another one each time, with what the
  // last caller's policies have set there.
  const forSpare = isPooler ? 0 : Math.min(spareConnections, place.room?.spare ?? spareConnections)
  const forGroups = forSpare < GROUPS_AT_ONCE ? 0 : GROUPS_AT_ONCE
  const spareOptions = { idle_timeout: SPARE_IDLE_S, onrefused: () => {} } // nobody is to hear of what is not needed
  const commits = new Commits(
    pool,
    forWrites,
    Array.from({ length: forSpare - forGroups }, () => single(spareOptions)),
  )
  // Types of arrays, which the driver would ask for in a statement of its own, are not needed.
  const groupOptions = { ...spareOptions, statementTimeoutMs: GROUP_MS, fetch_types: false }
  const groups = new GroupConnections(Array.from({ length: forGroups }, () => single(groupOptions)))
  const questions = new Questions(
    Array.from(
      { length: place.room?.questions ?? QUESTIONS_AT_ONCE },
      () => new QuestionConnection(single({ statementTimeoutMs: questionMs })),
    ),
    questionMs,
  )
  let tell = onPooler
  const open: Database['openSession'] = async (onNotify) => {
    try {
      return await openSession(place.sessions, { timeoutMs, onNotify })
    } catch (error) {
      if (error instanceof PoolerError) {
        tell?.(error)
        tell = undefined // once is enough
      }
      if (error instanceof PoolerError || error instanceof NoSessionError) {
        throw new StorageError('DatabaseUnavailable', { cause: error })
      }
      throw fromPostgres(error)
    }
  }
  return {
    place,
    sql: pool.sql,
    run: pool.run.bind(pool),
    transaction: pool.transaction.bind(pool),
    commit: commits.run.bind(commits),
    read: (statement, values) => inOurErrors(reads.query((sql) => statement.send(sql, values))),
    groups: forGroups > 0 ? groups : null,
    questions,
    openSession: open,
    exclusively: async (turn, work, waiting) => {
      const session = await open()
      const giveUpAt = performance.now() + (waiting?.limitMs ?? 0)
      try {
        while (!(await takeTurn(session.sql, turn, waiting !== undefined))) {
          if (performance.now() >= giveUpAt) return null
          await delay(TURN_RETRY_MS)
          waiting?.signal?.throwIfAborted()
        }
        return await work(session.lost, session.sql)
      } finally {
        await session.close()
      }
    },
    takeRoom: async () => {
      await Promise.all([pool.sql`select 1`.catch(() => {}), questions.takeRoom()])
    },
    load: () => ({
      open: sum(clients, (sql) => sql.countOpen()),
      busy: sum(clients, (sql) => sql.countBusy()),
      waiting: sum(clients, (sql) => sql.countWaiting()),
    }),
    close: async () => {
      await Promise.all([
        pool.close({ timeout: 5 }),
        reads.close({ timeout: 5 }),
        commits.close({ timeout: 5 }),
        groups.close({ timeout: 5 }),
        questions.close({ timeout: 5 }),
      ])
    },
  }
}

function sum<T>(all: T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0)
}

/** Calls `tell` a moment after the first call, and no more until it is time for a reminder. */
function tellNowAndThen<T>(tell: (about: T) => void): (about: T) => void {
  let nextAt = 0
  return (about) => {
    if (performance.now() < nextAt) return
    nextAt = performance.now() + REMINDER_MS
    setTimeout(() => tell(about), SETTLED_MS).unref()
  }
}
