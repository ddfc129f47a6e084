import pino from 'pino'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { MigrationError, migrate } from '../../../src/database/migrations/migrate.ts'
import { checkDatabase, type OpenedForCheck } from '../../../src/database/opening/check.ts'
import type { CheckResult } from '../../../src/model/check-result.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'
import { exercise } from '../../support/exercise.ts'
import { serveOn } from '../../support/server.ts'

const logger = pino({ level: 'silent' })

let cluster: Cluster
beforeAll(() => {
  cluster = openCluster()
})
afterAll(() => cluster.close())

const SUPABASE_TABLES = `
  create table storage.buckets (id text primary key, name text not null, public boolean, owner uuid,
    file_size_limit bigint, allowed_mime_types text[], avif_autodetection boolean,
    created_at timestamptz default now(), updated_at timestamptz default now());
  create table storage.objects (id uuid primary key default gen_random_uuid(), bucket_id text, name text, owner uuid,
    metadata jsonb, version text, path_tokens text[] generated always as (string_to_array(name, '/')) stored,
    created_at timestamptz default now(), updated_at timestamptz default now(), last_accessed_at timestamptz)`

describe('a schema `storage` that is not ours', () => {
  it.each<[whose: string, made: string, says: RegExp]>([
    [
      'another application’s',
      'create table storage.shelves (id int); create view storage.full_shelves as select * from storage.shelves',
      /belongs to something else \(owner postgres, tables full_shelves, shelves\)\. Let DATABASE_URL name a database of its own/,
    ],
    [
      'another’s that has buckets and objects, too',
      'create table storage.buckets (id int); create table storage.objects (id int)',
      /belongs to something else \(owner postgres, tables buckets, objects\)/,
    ],
    [
      'like Supabase’s, with a table in the place of one of ours',
      `${SUPABASE_TABLES}; create table storage.uploads (id int)`,
      /belongs to something else \(owner postgres, tables buckets, objects, uploads\)/,
    ],
    [
      'that of Supabase’s own server',
      `${SUPABASE_TABLES}; create table storage.migrations (id int, name text)`,
      /belongs to Supabase's own storage server .*storage\.migrations.*a database of its own.*; or, to take its buckets/,
    ],
  ])('is named, by the check too, and nothing is touched: %s', async (_, made, says) => {
    const database = await cluster.newDatabase()
    const { sql } = cluster.open(database)
    await sql.unsafe(`create schema storage; ${made}`)
    const before = await objectsOf(database)
    const migrating = migrate(cluster.address(database), logger)
    await expect(migrating).rejects.toThrow(MigrationError)
    await expect(migrating).rejects.toThrow(says)
    expect(await tablesResult(database)).toEqual({
      about: 'database tables',
      state: 'failed',
      says: expect.stringMatching(says),
      isComplete: false,
    })
    expect(await objectsOf(database)).toEqual(before)
    // A second time, since the first must not have left what looks like ours.
    await expect(migrate(cluster.address(database), logger)).rejects.toThrow(says)
  })

  it('is taken over when it was Supabase’s, and its server is said to be gone', async () => {
    const database = await cluster.newDatabase()
    const { sql } = cluster.open(database)
    await sql.unsafe(`create schema storage; ${SUPABASE_TABLES}; create table storage.migrations (id int)`)
    const refused = await migrate(cluster.address(database), logger).catch((error: Error) => error.message)
    const [, statement] = /\((alter table .*)\)$/.exec(String(refused)) ?? []
    await sql.unsafe(String(statement))
    expect(await migrate(cluster.address(database), logger)).toBeGreaterThan(0)
    const server = await serveOn(cluster.open(database, 'strongroom_server'))
    await exercise(server).finally(() => server.close())
  })

  it('is ours when it is empty', async () => {
    const database = await cluster.newDatabase()
    await cluster.open(database).sql`create schema storage`
    expect(await migrate(cluster.address(database), logger)).toBeGreaterThan(0)
  })

  it('that is missing while the rest of ours is there is told from a new database', async () => {
    const database = await cluster.newDatabase()
    await migrate(cluster.address(database), logger)
    const { sql } = cluster.open(database)
    await sql`drop schema storage cascade`
    const migrating = migrate(cluster.address(database), logger)
    await expect(migrating).rejects.toThrow(/schema strongroom.*\(drop schema strongroom cascade\)/)
    await sql`drop schema strongroom cascade`
    expect(await migrate(cluster.address(database), logger)).toBeGreaterThan(0)
  })
})

async function tablesResult(database: string): Promise<CheckResult | undefined> {
  const { host, port, superuser } = inject('postgres')
  const opened: OpenedForCheck = { closers: [] }
  const found: CheckResult[] = []
  const url = `postgres://${superuser}@/${database}?host=${encodeURIComponent(host)}&port=${port}`
  for await (const result of checkDatabase(url, undefined, { pool: 10, spare: 0, processes: 1 }, opened))
    found.push(result)
  for (const close of opened.closers) await close()
  return found.find((result) => result.about === 'database tables')
}

/** All relations and functions of the database that are not PostgreSQL's. */
async function objectsOf(database: string): Promise<unknown> {
  const { sql } = cluster.open(database)
  return sql`
    select oid::regclass::text as name from pg_class where oid >= 16384
    union all select oid::regprocedure::text from pg_proc where oid >= 16384
    union all select nspname from pg_namespace where oid >= 16384 order by 1`
}
