import { type SQL, sql } from 'drizzle-orm'
import { hasCode } from '../../model/errors.ts'
import type { AuditEntry } from '../../telemetry/audit-entry.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { sqlState } from '../connection/postgres-error.ts'
import { Statement } from '../connection/statement.ts'

/** An entry as it is read. */
export interface AuditRow {
  /** ISO 8601, to the millisecond, in UTC. */
  at: string
  id: string
  action: string
  resource_type: string
  resource_id: string | null
  user_id: string | null
  role: string | null
  file_id: string | null
  bucket: string | null
  path: string | null
  target: string | null
  allowed: boolean
  status: number
  bytes: number | null
  address: string | null
  user_agent: string | null
  request_id: string | null
  via: string | null
  credential: string | null
  repeated: number
}

/** Which entries; what is not there is any. */
export interface AuditFilter {
  userId?: string | undefined
  fileId?: string | undefined
  bucket?: string | undefined
  path?: string | undefined
  action?: string | undefined
  role?: string | undefined
  allowed?: boolean | undefined
  /** Inclusive. */
  from?: Date | undefined
  /** Exclusive. */
  to?: Date | undefined
}

/** Where a page ends. */
export interface AuditPlace {
  at: Date
  id: string
}

export interface AuditPage {
  limit: number
  /** Those that come after this one, in the order that they are asked for. */
  after?: AuditPlace | undefined
}

/**
 * Stores entries, each once, in one round trip. One that PostgreSQL does not take keeps no other from being stored.
 *
 * @param onUnfit hears of those that it does not take
 * @throws what does not lie with an entry
 */
export async function writeAudit(
  database: Pick<Database, 'run'>,
  entries: AuditEntry[],
  onUnfit: (entry: AuditEntry, error: unknown) => void,
): Promise<void> {
  if (entries.length === 0) return
  try {
    const { common, own } = divide(entries)
    await database.run(WRITE, { common: JSON.stringify(common), entries: JSON.stringify(own) })
  } catch (error) {
    if (!isOfAnEntry(error)) throw error
    const [only] = entries
    if (entries.length === 1 && only) return onUnfit(only, error)
    const middle = entries.length >> 1
    await writeAudit(database, entries.slice(0, middle), onUnfit)
    await writeAudit(database, entries.slice(middle), onUnfit)
  }
}

const WRITE = new Statement<{ common: string; entries: string }, object>(
  'select storage.write_audit(:common::json, :entries::json)',
)

/** All of an entry that may be another's, too. */
const SHARED = [
  'action',
  'resource_type',
  'resource_id',
  'user_id',
  'role',
  'file_id',
  'bucket',
  'path',
  'target',
  'allowed',
  'status',
  'bytes',
  'address',
  'user_agent',
  'request_id',
  'via',
  'credential',
  'repeated',
] as const satisfies (keyof AuditEntry)[]

/** What all entries have in common, and what each has for itself. Text for PostgreSQL to read is half of what an entry costs. */
function divide(entries: AuditEntry[]): { common: Partial<AuditEntry>; own: Partial<AuditEntry>[] } {
  const [first] = entries
  const isCommon = (name: (typeof SHARED)[number]) => entries.every((entry) => entry[name] === first?.[name])
  const common = new Set<keyof AuditEntry>(SHARED.filter(isCommon))
  const others = SHARED.filter((name) => !common.has(name))
  const pick = (entry: AuditEntry | undefined, names: Iterable<keyof AuditEntry>): Partial<AuditEntry> => {
    const picked: Record<string, unknown> = {}
    for (const name of names) picked[name] = entry?.[name]
    return picked
  }
  return { common: pick(first, common), own: entries.map((entry) => pick(entry, ['at', 'id', ...others])) }
}

/** Data exceptions, and constraints that are broken. */
function isOfAnEntry(error: unknown): boolean {
  return !hasCode(error, 'DatabaseUnavailable') && /^2[23]/.test(sqlState(error) ?? '')
}

/** Entries, the newest first: for whoever may see them all. @throws DatabaseTimeout where too many have to be looked through */
export async function listAudit(
  database: Pick<Database, 'transaction'>,
  filter: AuditFilter,
  page: AuditPage,
): Promise<AuditRow[]> {
  const { limit, after } = page
  const conditions = conditionsOf(filter)
  if (after) {
    const at = after.at.toISOString()
    conditions.push(sql`at <= ${at}::timestamptz and (at, id) < (${at}::timestamptz, ${after.id}::uuid)`)
  }
  return select(database, conditions, sql`order by at desc, id desc limit ${limit}`)
}

/** The same, the oldest first. */
export async function exportAudit(
  database: Pick<Database, 'transaction'>,
  filter: AuditFilter,
  { limit, after }: AuditPage,
): Promise<AuditRow[]> {
  const conditions = conditionsOf(filter)
  if (after) {
    const at = after.at.toISOString()
    conditions.push(sql`at >= ${at}::timestamptz and (at, id) > (${at}::timestamptz, ${after.id}::uuid)`)
  }
  return select(database, conditions, sql`order by at, id limit ${limit}`)
}

async function select(
  database: Pick<Database, 'transaction'>,
  conditions: SQL[],
  order: SQL,
): Promise<AuditRow[]> {
  const rows = await asService(database, (tx) =>
    tx.execute(sql`
      select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at, id, action, resource_type, resource_id,
        user_id, role, file_id, bucket, path, target, allowed, status, bytes::float8 as bytes, host(address) as address,
        user_agent, request_id, via, credential, repeated
      from storage.audit_log where ${sql.join([sql`true`, ...conditions], sql` and `)} ${order}`),
  )
  return [...rows] as unknown as AuditRow[]
}

function conditionsOf(filter: AuditFilter): SQL[] {
  const { userId, fileId, bucket, path, action, role, allowed, from, to } = filter
  const conditions: SQL[] = []
  if (from) conditions.push(sql`at >= ${from.toISOString()}::timestamptz`)
  if (to) conditions.push(sql`at < ${to.toISOString()}::timestamptz`)
  if (userId !== undefined) conditions.push(sql`user_id = ${userId}`)
  if (fileId !== undefined) conditions.push(sql`file_id = ${fileId}::uuid`)
  if (bucket !== undefined) conditions.push(sql`bucket = ${bucket}`)
  if (path !== undefined) {
    const both = sql`hashtextextended(bucket || '/' || path, 0) = hashtextextended(${`${bucket}/${path}`}::text, 0)`
    conditions.push(sql`path = ${path} and ${both}`)
  }
  if (action !== undefined) conditions.push(sql`action = ${action}`)
  if (role !== undefined) conditions.push(sql`role = ${role}`)
  if (allowed !== undefined) conditions.push(allowed ? sql`allowed` : sql`not allowed`)
  return conditions
}

/** Makes the month of a moment, if there is none. */
export async function makeAuditMonth(database: Pick<Database, 'run'>, moment: Date): Promise<void> {
  await database.run(MAKE_MONTH, { moment: moment.toISOString() })
}

const MAKE_MONTH = new Statement<{ moment: string }, object>(
  'select storage.make_audit_month(:moment::timestamptz)',
)

/** Drops the months that were over before a moment. Returns how many. @throws DatabaseTimeout while somebody reads them */
export async function dropAuditMonths(database: Pick<Database, 'run'>, before: Date): Promise<number> {
  const [row] = await database.run(DROP_MONTHS, { before: before.toISOString() })
  return row?.dropped ?? 0
}

const DROP_MONTHS = new Statement<{ before: string }, { dropped: number }>(
  'select storage.drop_audit_months(:before::timestamptz) as dropped',
)
