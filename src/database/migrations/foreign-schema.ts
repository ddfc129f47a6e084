import type { MigrationMeta } from 'drizzle-orm/migrator'
import type postgres from '#postgres'

/** Columns of Supabase's (wire §7.1, §7.2) without which the tables are somebody else's. */
const SUPABASE_COLUMNS = [
  ...[
    'id text',
    'name text',
    'owner uuid',
    'public boolean',
    'file_size_limit bigint',
    'allowed_mime_types text[]',
  ].map((column) => `buckets.${column}`),
  ...[
    'id uuid',
    'bucket_id text',
    'name text',
    'owner uuid',
    'metadata jsonb',
    'version text',
    'path_tokens text[]',
  ].map((column) => `objects.${column}`),
  ...['created_at', 'updated_at'].flatMap((column) =>
    ['buckets', 'objects'].map((table) => `${table}.${column} timestamp with time zone`),
  ),
]

/** How many of somebody's tables are named. */
const NAMED = 5

/**
 * Whose the schemas `storage` and `strongroom` are, when it is not us, and what to do; undefined when they are missing,
 * empty, ours, or Supabase's tables without the server that was behind them, which we take over. Only reads.
 *
 * @param migrations all of ours, of which the database has none
 */
export async function whyForeign(
  sql: postgres.Sql,
  migrations: MigrationMeta[],
): Promise<string | undefined> {
  const [found] = await sql<{ tables: string[]; columns: string[]; owner: string | null; rest: boolean }[]>`
    select
      array(
        select relname::text from pg_class where relnamespace = to_regnamespace('storage')
          and relkind in ('r', 'p', 'v', 'm', 'f') and relname <> 'strongroom_migrations' order by relname
      ) as tables,
      array(
        select format('%s.%s %s', c.relname, a.attname, format_type(a.atttypid, null))
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = to_regnamespace('storage') and c.relkind = 'r'
      ) as columns,
      (select nspowner::regrole::text from pg_namespace where nspname = 'storage') as owner,
      to_regnamespace('strongroom') is not null as rest`
  if (!found) return undefined
  const { tables, columns, owner, rest } = found
  const others = 'Let DATABASE_URL name a database of its own (create database strongroom)'
  if (rest) {
    return `there is a schema strongroom, and none of our tables in the schema storage. ${others}, or drop it, if nothing of yours is in it (drop schema strongroom cascade)`
  }
  if (tables.length === 0) return undefined
  if (tables.includes('migrations') && tables.includes('buckets')) {
    return (
      `the schema storage belongs to Supabase's own storage server (it has its table storage.migrations), which cannot share it. ${others}; ` +
      'or, to take its buckets and rows over, though not its bytes, end that server for good and rename the table (alter table storage.migrations rename to former_migrations)'
    )
  }
  const made = tablesOf(migrations)
  const clashing = tables.filter((table) => made.has(table))
  if (clashing.length === 0 && SUPABASE_COLUMNS.every((column) => columns.includes(column))) return undefined
  const names = `${tables.slice(0, NAMED).join(', ')}${tables.length > NAMED ? ', …' : ''}`
  return `the schema storage belongs to something else (owner ${owner}, tables ${names}). ${others}`
}

/** The tables that must not be there, because the migrations make them. */
function tablesOf(migrations: MigrationMeta[]): Set<string> {
  const statements = migrations.flatMap((migration) => migration.sql).join(';')
  return new Set([...statements.matchAll(/create table storage\.(\w+)/g)].map(([, name]) => String(name)))
}
