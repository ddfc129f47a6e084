import type postgres from '#postgres'
import { inOurErrors } from '../connection/postgres-error.ts'

/** What servers write by themselves, whatever clients do: what is handed out, what is removed, and how far work has come. */
const OWN_WORK = [
  ...['event_order', 'event_sinks', 'webhook_deliveries', 'uploads', 'removals', 'former_buckets'],
  ...['scrubs', 'moves', 'backup_jobs', 'backup_holds', 'strongroom_migrations'],
]

export interface Writes {
  /** Such as `storage.objects`, quoted. */
  table: string
  /** Rows that have come or were changed, and are there still. */
  count: number
}

/** The number of the transaction, of PostgreSQL's 64 bits; later ones have greater ones. */
export async function currentTransaction(sql: postgres.ISql): Promise<string> {
  const [row] = await inOurErrors(sql<{ id: string }[]>`select pg_current_xact_id()::text as id`)
  return row?.id ?? '0'
}

/**
 * In which tables, users' own too, there are rows that a later transaction has written. What was deleted of ours is told by the
 * rows of storage.events. Reads all tables: for when no server runs, or none has begun to.
 *
 * @param transaction of less than 2³¹ transactions ago
 */
export async function writesSince(sql: postgres.ISql, transaction: string): Promise<Writes[]> {
  const tables = await inOurErrors(sql<{ name: string }[]>`
    select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'strongroom')
      and not (n.nspname = 'storage' and c.relname = any (${OWN_WORK}::text[]))
    order by 1`)
  const found: Writes[] = []
  for (const { name } of tables) {
    // Events of no bucket tell of such work, a backup's end for example.
    const isOfClients = name === 'storage.events' ? 'bucket_id is not null' : 'true'
    const [row] = await inOurErrors(
      sql.unsafe<{ count: number }[]>(
        `select count(*)::float8 as count from ${name} t
        where age(t.xmin) < age(($1::numeric % 4294967296)::text::xid) and ${isOfClients}`,
        [transaction],
      ),
    )
    if (row && row.count > 0) found.push({ table: name, count: row.count })
  }
  return found
}
