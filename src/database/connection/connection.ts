import postgres from '#postgres'
import { limitAnswers } from './answer-limit.ts'
import { openUrl } from './database-url.ts'
import type { Endpoint } from './place.ts'
import { isOutOfRole } from './postgres-error.ts'
import { VALUE_TYPES } from './row-values.ts'

/** A statement that takes longer is one that nobody waits for any more (wire §7.5). */
const STATEMENT_TIMEOUT_MS = 30_000

/**
 * Said at the login to what should be PostgreSQL itself, which takes any setting with a dot in its name. A pooler either
 * refuses it, and so cannot get in the way unnoticed, or does not pass it on, which can be asked for.
 */
const DIRECT_SETTING = 'strongroom.direct'

type DriverOptions = postgres.Options<Record<string, never>>

export interface ConnectionOptions extends DriverOptions {
  /** How long an answer may take, in milliseconds; any time when left out. Longer than statements may. */
  timeoutMs?: number
  /** How long PostgreSQL may work on a statement, in milliseconds; 30 s. */
  statementTimeoutMs?: number
}

/** Connects at the first query, and again by itself after a lost connection. */
export function connectTo(
  { address, isPooler }: Endpoint,
  { timeoutMs, statementTimeoutMs = STATEMENT_TIMEOUT_MS, ...options }: ConnectionOptions,
): postgres.Sql {
  const name = { application_name: 'strongroom' }
  const settings: DriverOptions = {
    // A reconnecting pool asks at this pace; the default backs off for up to a minute.
    backoff: (attempt) => Math.min(0.05 * 2 ** attempt, 1),
    connect_timeout: 10,
    // The driver replaces a connection after about an hour; what a session holds would go, and its place be somebody else's.
    max_lifetime: null,
    connection: isPooler
      ? name // others are refused, or dropped without a word
      : { ...name, statement_timeout: statementTimeoutMs, TimeZone: 'UTC', [DIRECT_SETTING]: 'true' },
    onnotice: () => {},
    isspent: isOutOfRole,
    types: VALUE_TYPES as Record<string, never>, // whose helpers on the client nobody uses
    // A named statement belongs to a session, and would be left in somebody else's.
    ...(isPooler && { prepare: false }),
    ...options,
  }
  const sql =
    typeof address === 'string' ? openUrl(address, settings) : postgres({ ...address, pass: '', ...settings })
  return timeoutMs === undefined ? sql : limitAnswers(sql, timeoutMs)
}

/** What is said at the login, as statements for where it cannot be said there. */
export function sessionSettings(
  scope: 'session' | 'local',
  { statementTimeoutMs = STATEMENT_TIMEOUT_MS }: Pick<ConnectionOptions, 'statementTimeoutMs'> = {},
): string {
  return `set ${scope} statement_timeout = ${statementTimeoutMs}; set ${scope} timezone = 'UTC'`
}

/** Whether what was said at the login has reached PostgreSQL. */
export async function heedsLogin(sql: postgres.Sql): Promise<boolean> {
  const [row] = await sql.unsafe(`select current_setting('${DIRECT_SETTING}', true) = 'true' as heeded`)
  return row?.heeded === true
}
