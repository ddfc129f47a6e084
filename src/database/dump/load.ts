import type postgres from '#postgres'
import { fromPostgres } from '../connection/postgres-error.ts'
import { readFunctionFiles } from '../migrations/function-files.ts'
import { FOLDER, migrationOf, schemaVersion } from '../migrations/schema-version.ts'
import { DumpError } from './dump-error.ts'

/**
 * What becomes of a row that is there already, by its key, or for an object by its bucket and name: it is an error, it stays,
 * or it becomes what the other is.
 */
export type OnConflict = 'refuse' | 'keep' | 'replace'

/** A transaction in which rows come in as they were, with their ids and times. */
export interface Load {
  sql: postgres.TransactionSql
  /**
   * Writes rows as `Snapshot.rows` gives them.
   *
   * @param table of TABLES
   * @param lines all with the same keys. Columns that they do not have get their defaults: they have come since
   * @returns how many rows were written: those that stay are none
   * @throws DumpError for a column that the table does not have: the rows are a newer Strongroom's
   */
  rows(
    table: string,
    lines: Iterable<string> | AsyncIterable<string>,
    onConflict: OnConflict,
  ): Promise<number>
}

export interface LoadOptions {
  /**
   * False: into a database that nobody serves, and that has no such rows. No trigger fires, ours or a user's, so there are no
   * events; for that the login has to own the tables. True: what comes in happens to the servers, their memory and their
   * subscribers as what a client writes does, and versions that are replaced go on the list of removals.
   */
  isServed: boolean
}

/** What is sent at once, in characters and in rows. */
const BATCH_LENGTH = 2 ** 20
const BATCH_ROWS = 1000

/**
 * Runs `work` in one transaction, which is undone when it throws.
 *
 * @param sql one that makes transactions, in a session that sees all rows, or may become service_role
 * @throws DumpError, StorageError, or what `work` throws
 */
export async function load<T>(
  sql: postgres.Sql,
  { isServed }: LoadOptions,
  work: (load: Load) => Promise<T>,
): Promise<T> {
  try {
    return (await sql.begin(async (tx) => {
      await tx.unsafe(`set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0`)
      const silenced = isServed ? [] : await silence(tx)
      if (isServed) {
        await tx.unsafe(
          `set local role service_role; set local storage.restoring = 'true'; set local storage.allow_delete_query = 'true'`,
        )
      }
      const result = await work({
        sql: tx,
        rows: (table, lines, onConflict) => writeRows(tx, table, lines, onConflict),
      })
      for (const { table, trigger } of silenced) {
        await tx.unsafe(`alter table ${table} enable trigger ${trigger}`)
      }
      return result
    })) as T // no array of promises, which the driver would wait for
  } catch (error) {
    throw fromPostgres(error)
  }
}

/** @throws DumpError unless this build knows how the rows are that such a schema has (`Snapshot.schema`) */
export function refuseNewer(schema: string): void {
  if (migrationOf(schema) !== undefined) return
  throw new DumpError(
    `These rows are of a newer Strongroom than this one (schema ${schema}): use that version, or a newer one`,
  )
}

/**
 * Rows that come into later tables would miss what the migrations since then do with them.
 *
 * @param schema of the rows @throws DumpError
 */
export async function refuseLaterTables(sql: postgres.Sql, schema: string): Promise<void> {
  const [row] = await sql<
    { last: string }[]
  >`select max(created_at) as last from storage.strongroom_migrations`
  const last = Number(row?.last)
  if (last <= (migrationOf(schema) ?? last)) return
  throw new DumpError(
    `The tables of the database are those of ${schemaVersion(last)} already, and the rows are of before, ${schema}: ` +
      'name a new database (create database …), on which no server was started',
  )
}

/**
 * Lets no trigger fire until the transaction ends, or until it is enabled again. Which needs no superuser, as
 * session_replication_role does, but who owns the tables.
 */
async function silence(tx: postgres.TransactionSql): Promise<{ table: string; trigger: string }[]> {
  const triggers = await tx<
    { table: string; trigger: string; owner: string; isOurs: boolean; login: string }[]
  >`
    select c.oid::regclass::text as table, quote_ident(t.tgname) as trigger, c.relowner::regrole::text as owner,
      pg_has_role(c.relowner, 'usage') as "isOurs", current_user::text as login
    from pg_trigger t join pg_class c on c.oid = t.tgrelid
    where c.relnamespace = 'storage'::regnamespace and not t.tgisinternal and t.tgenabled = 'O'
    order by c.relname, t.tgname`
  const other = triggers.find(({ isOurs }) => !isOurs)
  if (other) {
    throw new DumpError(
      `${other.table} is not the login's, ${other.login}: log in as ${other.owner}, who owns it, or as a superuser`,
    )
  }
  for (const { table, trigger } of triggers)
    await tx.unsafe(`alter table ${table} disable trigger ${trigger}`)
  return triggers
}

async function writeRows(
  tx: postgres.TransactionSql,
  table: string,
  lines: Iterable<string> | AsyncIterable<string>,
  onConflict: OnConflict,
): Promise<number> {
  let insert: string | undefined
  let written = 0
  let batch: string[] = []
  let length = 0
  let writing: Promise<void> = Promise.resolve()
  const write = async () => {
    const rows = `[${batch.join(',')}]`
    const first = batch[0] as string
    batch = []
    length = 0
    await writing
    if (table === 'audit_log') await makeMonths(tx, rows)
    insert ??= insertInto(await columnsFor(tx, table, first), onConflict)
    // While PostgreSQL does it, the next ones come.
    writing = tx.unsafe(insert, [rows], { prepare: true }).then(({ count }) => {
      written += count
    })
    writing.catch(() => {}) // told to who waits for it
  }
  try {
    for await (const line of lines) {
      batch.push(line)
      length += line.length
      if (length >= BATCH_LENGTH || batch.length === BATCH_ROWS) await write()
    }
    if (batch.length > 0) await write()
  } finally {
    await writing // also when reading has failed: nothing may be under way when the transaction ends
  }
  if (written > 0) await setSequences(tx, table)
  return written
}

/** The parts that entries of the audit log go into. Tables of before (`migrate`, `through`) have no functions yet: ours make them. */
async function makeMonths(tx: postgres.TransactionSql, rows: string): Promise<void> {
  const [{ isThere }] = await tx<
    [{ isThere: boolean }]
  >`select to_regprocedure('storage.make_audit_months(json)') is not null as "isThere"`
  const ours = readFunctionFiles(FOLDER).files.find(({ name }) => name === 'audit.sql')
  if (!isThere && ours) await tx.unsafe(ours.text)
  await tx.unsafe('select storage.make_audit_months($1::json)', [rows])
}

interface Target {
  table: string
  /** Those that the rows have. */
  columns: string[]
  key: string[]
}

/** @throws DumpError */
async function columnsFor(tx: postgres.TransactionSql, table: string, line: string): Promise<Target> {
  const columns = await tx<{ name: string; isGenerated: boolean; isKey: boolean }[]>`
    select a.attname as name, a.attgenerated <> '' as "isGenerated",
      exists (
        select from pg_index i where i.indrelid = a.attrelid and i.indisprimary and a.attnum = any (i.indkey)
      ) as "isKey"
    from pg_attribute a
    where a.attrelid = to_regclass(${`storage."${table}"`}) and a.attnum > 0 and not a.attisdropped`
  const given = Object.keys(JSON.parse(line))
  const unknown = given.filter((name) => !columns.some((column) => column.name === name))
  if (unknown.length > 0) {
    const what =
      columns.length > 0 ? `a column ${unknown[0]} of storage.${table}` : `a table storage.${table}`
    throw new DumpError(
      `The rows have ${what}, which this database has not: they are of a newer Strongroom, or of something else`,
    )
  }
  const known = columns.filter(({ name, isGenerated }) => !isGenerated && given.includes(name))
  return {
    table,
    columns: known.map(({ name }) => name),
    key: columns.filter(({ isKey }) => isKey).map(({ name }) => name),
  }
}

function insertInto({ table, columns, key }: Target, onConflict: OnConflict): string {
  const to = `storage.${quote(table)}`
  const names = columns.map(quote).join(', ')
  // As text, which every session sends as it is: the driver makes JSON of a text that is to be JSON, drizzle's does not.
  const rows = `json_populate_recordset(null::${to}, $1::text::json)`
  const insert = `insert into ${to} as t (${names}) overriding system value select ${names} from ${rows} r`
  if (onConflict === 'refuse') return insert
  if (onConflict === 'keep') return `${insert} on conflict do nothing`
  const changed = columns.filter((column) => !isKept(table, column))
  const set = changed.map((column) => `${quote(column)} = excluded.${quote(column)}`).join(', ')
  const is = (row: string) => `(${changed.map((column) => `${row}.${quote(column)}`).join(', ')})`
  const update = `do update set ${set} where ${is('t')} is distinct from ${is('excluded')}`
  if (table !== 'objects') return `${insert} on conflict (${key.map(quote).join(', ')}) ${update}`
  // An object that was moved since then goes back. In one statement, so that its version is named when it ends.
  return `
    with gone as (
      delete from ${to} o using ${rows} r
      where o.id = r.id and (o.bucket_id, o.name) is distinct from (r.bucket_id, r.name) returning o.id
    )
    ${insert} where (select count(*) from gone) >= 0 on conflict (bucket_id, name) ${update}`
}

/** What a bucket that is there keeps: under it are the bytes of its objects. */
function isKept(table: string, column: string): boolean {
  return table === 'buckets' && column === 'uid'
}

/** What counts rows goes on behind those that have come. */
async function setSequences(tx: postgres.TransactionSql, table: string): Promise<void> {
  const columns = await tx<{ column: string; sequence: string }[]>`
    select quote_ident(a.attname) as column, pg_get_serial_sequence(${`storage."${table}"`}, a.attname) as sequence
    from pg_attribute a where a.attrelid = to_regclass(${`storage."${table}"`}) and a.attidentity <> ''`
  for (const { column, sequence } of columns) {
    await tx.unsafe(`
      select setval('${sequence}', greatest(max(${column}), (select last_value from ${sequence})))
      from storage.${quote(table)} having max(${column}) is not null`)
  }
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
