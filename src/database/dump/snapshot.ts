import type postgres from '#postgres'
import { UUID } from '../../lib/uuid.ts'
import { INLINE_BUCKET } from '../../model/location.ts'
import type { Database } from '../connection/client.ts'
import { fromPostgres } from '../connection/postgres-error.ts'
import type { Session } from '../connection/session.ts'
import { schemaVersion } from '../migrations/schema-version.ts'
import { findServiceRights, whatBinds } from '../migrations/service-role.ts'
import { ALL_FORMER, type Former, whichFormer } from '../queries/former.ts'
import { DumpError } from './dump-error.ts'
import { asked, EXACTLY, readLines, readRows, type TableShape } from './rows.ts'
import { TABLES } from './tables.ts'

/** All rows of one moment, however long it takes to read them. Nobody waits for it, and it waits for nobody. */
export interface Snapshot {
  /** When it was taken, by the database's clock: RFC 3339 with microseconds, in UTC. */
  readonly moment: string
  /** The last migration, such as `0036_sweeps`. */
  readonly schema: string
  /** Of the functions (drizzle/meta/functions.json). */
  readonly functionsRevision: number
  /** PostgreSQL's version, such as `18.4`. */
  readonly postgres: string
  /** The process of PostgreSQL that reads it. */
  readonly pid: number
  /** The tables that go along, in an order in which their rows can be written. */
  readonly tables: string[]
  /** What is read of a table of `tables`. */
  shape(table: string): TableShape
  /** How many rows there are. */
  count(table: string): Promise<number>
  /**
   * The rows of a table of `tables`, each as a line of JSON without its end, sorted by primary key, objects and what was before them by version, texts byte by byte.
   * Values are exact: numbers as PostgreSQL has them, times with microseconds, `bytea` in hexadecimal. Generated columns are
   * left out, since another database makes them by its own collation.
   */
  rows(table: string): AsyncIterable<string>
  /**
   * All versions that have bytes: those of objects, those of before, and those whose bytes are still to be removed. Each once,
   * sorted as texts.
   */
  versions(): AsyncIterable<VersionRow>
  /** The bytes of those versions that are in the database, in the order in which they are asked for; others are left out. */
  inlineBytes(versions: Iterable<string> | AsyncIterable<string>): AsyncIterable<InlineBytes>
  /** Ends it. Twice is harmless. */
  close(): Promise<void>
}

export interface VersionRow {
  version: string
  /** The bucket's part of the location, which is not its id. */
  bucket: string
  /** SHA-256, 64 lower-case hexadecimal digits; null when there is none, such as of what came in parts. */
  checksum: string | null
  /** In bytes; null when no row says it. */
  size: number | null
  /** Whether the bytes are in the database (decision 0052). */
  isInline: boolean
  /** An object that has it, or had it before, as `<bucket>/<name>`; null when the bytes are only to be removed yet. */
  object: string | null
}

export interface InlineBytes {
  version: string
  bytes: Uint8Array
}

export interface SnapshotOptions {
  /** What it is for: a backup, one with secrets in it, or a move of the whole database. */
  for: 'backup' | 'backup with keys' | 'move'
  /** Which rows of what was there before are read, and which of their versions. */
  former?: Former
}

/** Versions whose bytes are asked for at once: of 16 KiB they are 2 MB. */
const BYTES_AT_ONCE = 128

/**
 * Takes a snapshot, in a session of its own, which may last. What is read of it may be read by turns, but not at once. Rows
 * are complete or not read at all: where policies could hide any, it fails.
 *
 * @throws DumpError where the service is bound by policies
 * @throws DatabaseUnavailable
 */
export async function openSnapshot(database: Database, options: SnapshotOptions): Promise<Snapshot> {
  const { former = ALL_FORMER } = options
  const session = await database.openSession()
  const { sql } = session
  try {
    const { bypasses, ...rights } = await findServiceRights(sql)
    const bound = whatBinds({ bypasses, ...rights })
    if (bound !== undefined) throw new DumpError(`Not all rows can be read: ${bound}`)
    await sql.unsafe(BEGIN)
    // The first statement makes the snapshot.
    const [about] = await sql<[About]>`
      select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as moment,
        (select max(created_at) from storage.strongroom_migrations) as migration,
        (select max(revision) from strongroom.function_texts) as "functionsRevision",
        current_setting('server_version') as postgres, current_setting('server_version_num')::int as number, pg_backend_pid() as pid`
    const schema = schemaVersion(Number(about.migration))
    if (schema === undefined) throw new DumpError('The database is of a newer Strongroom than this one')
    // What would be hidden is an error then; where the service is let in by a policy, nothing is hidden.
    const settings = `${EXACTLY}; set local row_security = ${bypasses ? 'off' : 'on'}`
    const noLimit = about.number >= 170_000 ? '; set local transaction_timeout = 0' : ''
    await sql.unsafe(`${settings}${noLimit}; set local role service_role`)
    const tables = await findTables(sql, options.for, former)
    const shape = (name: string) => {
      const found = tables.get(name)
      if (!found) throw new Error(`no table ${name} in this snapshot`)
      return found
    }
    return {
      moment: about.moment,
      schema,
      functionsRevision: about.functionsRevision ?? 0,
      postgres: String(about.postgres).split(' ')[0] ?? '',
      pid: about.pid,
      shape,
      tables: [...tables.keys()],
      count: async (name) => {
        const { name: table, only = 'true' } = shape(name)
        const [row] = await asked(
          session,
          sql<{ count: number }[]>`
          select count(*)::float8 as count from storage.${sql(table)} where ${sql.unsafe(only)}`,
        )
        return row?.count ?? 0
      },
      rows: (name) => readLines(session, shape(name)),
      versions: () => readVersions(session, tables.get('object_versions')),
      inlineBytes: (versions) => readInlineBytes(session, versions),
      close: session.close,
    }
  } catch (error) {
    await session.close()
    throw error instanceof DumpError ? error : fromPostgres(error)
  }
}

interface About {
  moment: string
  /** When the last migration was written, in milliseconds. */
  migration: string | null
  functionsRevision: number | null
  postgres: string
  number: number
  pid: number
}

/** Whoever else has set limits of time for all sessions does not mean one that has to last. */
const BEGIN = `
  begin isolation level repeatable read read only;
  set local statement_timeout = 0;
  set local idle_in_transaction_session_timeout = 0`

/** Of the tables that are there and go along, in the order of TABLES. */
async function findTables(
  sql: postgres.Sql,
  purpose: SnapshotOptions['for'],
  former: Former,
): Promise<Map<string, TableShape>> {
  const rows = await sql<TableShape[]>`
    select c.relname as name,
      array(
        select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attname
      ) as columns,
      (
        select json_agg(json_build_object('name', a.attname, 'isText', a.attcollation <> 0) order by k.place)
        from pg_index i, unnest(i.indkey::int[]) with ordinality k (number, place), pg_attribute a
        where i.indrelid = c.oid and i.indisprimary and a.attrelid = c.oid and a.attnum = k.number
      ) as key
    from pg_class c where c.relnamespace = 'storage'::regnamespace and c.relkind in ('r', 'p')`
  const found = new Map(rows.map((table) => [table.name, table]))
  const result = new Map<string, TableShape>()
  for (const { name, backup, move, secrets = [], local = [], sortedBy = [] } of TABLES) {
    const table = found.get(name)
    const goes = purpose === 'move' ? move : backup === true || (backup && purpose === 'backup with keys')
    if (!table || !goes) continue
    const without = new Set([...local, ...(purpose === 'backup' ? secrets : [])])
    const key = [...sortedBy.map((column) => ({ name: column, isText: true })), ...table.key]
    const columns = table.columns.filter((column) => !without.has(column))
    result.set(name, { name, columns, key, ...(name === 'object_versions' && { only: whichFormer(former) }) })
  }
  return result
}

/** What was there before; none in a database of a Strongroom that kept nothing of it. */
const formerVersions = ({ only = 'true' }: TableShape) => `
    union all
    select f.version::uuid, f.bytes_bucket, f.checksum, f.size, f.bucket_id || '/' || f.name
    from storage.object_versions f
    where not f.is_delete_marker and f.version ~ '${UUID.source}' and ${only}`

/** One version may be named by several rows, where somebody has copied them with SQL. */
const versionsWith = (former: string) => `
  select distinct on (version) version::text, bucket::text, checksum, size::text, bucket = '${INLINE_BUCKET}' as "isInline", object
  from (
    select o.version::uuid as version, coalesce(o.bytes_bucket, b.uid) as bucket, o.checksum,
      case when jsonb_typeof(o.metadata -> 'size') = 'number' then (o.metadata ->> 'size')::numeric end as size,
      o.bucket_id || '/' || o.name as object
    from storage.objects o join storage.buckets b on b.id = o.bucket_id
    where o.version ~ '${UUID.source}'
    ${former}
    union all
    select r.version, r.bucket_uid, null, null, null from storage.removals r
  ) v
  order by version, object nulls last`

async function* readVersions(session: Session, former: TableShape | undefined): AsyncIterable<VersionRow> {
  const query = versionsWith(former ? formerVersions(former) : '')
  const lengthOf = (row: { object: string | null }) => 200 + (row.object?.length ?? 0)
  const rows = readRows<Omit<VersionRow, 'size'> & { size: string | null }>(session, query, lengthOf)
  for await (const row of rows) yield { ...row, size: row.size === null ? null : Number(row.size) }
}

async function* readInlineBytes(
  session: Session,
  versions: Iterable<string> | AsyncIterable<string>,
): AsyncIterable<InlineBytes> {
  const wanted: string[] = []
  const find = () => {
    const batch = wanted.splice(0)
    return asked(
      session,
      session.sql<InlineBytes[]>`
      select i.version::text, i.bytes from unnest(${batch}::uuid[]) with ordinality w (version, place)
      join storage.inline_bytes i using (version) order by w.place`,
    )
  }
  for await (const version of versions) {
    if (wanted.push(version) === BYTES_AT_ONCE) yield* await find()
  }
  if (wanted.length > 0) yield* await find()
}
