import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { connectTo } from '../../../src/database/connection/connection.ts'
import { copyDatabase } from '../../../src/database/dump/copy-database.ts'
import { migrate } from '../../../src/database/migrations/migrate.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'

const DRIZZLE = fileURLToPath(new URL('../../../drizzle', import.meta.url))
const logger = pino({ level: 'silent' })

let cluster: Cluster
/** The last migration but one. */
let before: string
const closing: (() => Promise<void>)[] = []

beforeAll(async () => {
  cluster = openCluster()
  const { entries } = JSON.parse(await readFile(join(DRIZZLE, 'meta/_journal.json'), 'utf8'))
  before = entries.at(-2).tag
})
afterAll(async () => {
  for (const close of closing) await close()
  await cluster.close()
})

/** Nobody else has a session there, as long as it is not used. */
function open(name: string): Database {
  const opened = openDatabase(cluster.address(name), { connections: 1 })
  closing.push(() => opened.close())
  return opened
}

/** @param through its last migration */
async function newSource(through?: string): Promise<string> {
  const name = await cluster.newDatabase()
  await migrate(cluster.address(name), logger, { ...(through !== undefined && { through }) })
  const { sql, close } = openDatabase(cluster.address(name), { connections: 1 })
  await sql`insert into storage.buckets (id, name) values ('b', 'b')`
  await sql`insert into storage.objects (bucket_id, name) select 'b', i::text from generate_series(1, 500) i`
  if (through !== undefined) await addAuditEntry(sql)
  await close()
  return name
}

/** In a part that is made by hand: tables of before have no functions here. */
async function addAuditEntry(sql: postgres.Sql): Promise<void> {
  await sql.unsafe(`
    create table strongroom.audit_log_2026_11 partition of storage.audit_log for values from ('2026-11-01') to ('2026-12-01');
    insert into storage.audit_log (at, id, action, resource_type, allowed, status)
    values ('2026-11-28', gen_random_uuid(), 'upload', 'object', true, 200)`)
}

/** A new database, as `copyDatabase` wants it opened. */
async function newTarget() {
  const address = cluster.address(await cluster.newDatabase())
  const endpoint = { address, isPooler: false }
  let sql: postgres.Sql | undefined
  closing.push(async () => void (await sql?.end({ timeout: 5 })))
  const openTarget = async (schema: string) => {
    await migrate(endpoint, logger, { through: schema })
    sql = connectTo(endpoint, { max: 1 })
    return sql
  }
  return { address, openTarget }
}

const applied = async (sql: postgres.Sql) =>
  (await sql`select created_at from storage.strongroom_migrations order by 1`).map((row) => row.created_at)

describe('a copy of a database', () => {
  it('of one migration before has the rows before the last one is made', async () => {
    const source = open(await newSource(before))
    const { address, openTarget } = await newTarget()
    let schema = ''
    const report = await copyDatabase({
      source,
      openTarget: async (wanted) => {
        schema = wanted
        return openTarget(wanted)
      },
    })
    expect(schema).toBe(before)
    expect(report.rows).toContainEqual({ table: 'objects', count: 500 })
    expect(report.rows).toContainEqual({ table: 'audit_log', count: 1 })
    const target = open(address.database)
    expect(await applied(target.sql)).toEqual(await applied(source.sql))
    expect(await migrate(address, logger)).toBe(1)
    expect(await target.sql`select count(*)::int as count from storage.objects`).toEqual([{ count: 500 }])
    // What happens from then on is heard of.
    await target.sql`insert into storage.objects (bucket_id, name) values ('b', 'later')`
    expect(await target.sql`select from storage.events where name = 'later'`).toHaveLength(1)
  })

  it('has the audit log of all its months, entry by entry', async () => {
    const name = await newSource()
    const { address, openTarget } = await newTarget()
    const writer = openDatabase(cluster.address(name), { connections: 1 })
    await writer.sql`
      select storage.write_audit('{}', json_agg(json_build_object(
        'at', timestamptz '2025-12-31T12:00:00Z' + n * interval '1 hour', 'id', gen_random_uuid(), 'action', 'upload',
        'resource_type', 'object', 'path', n::text, 'allowed', true, 'status', 200, 'repeated', 0
      ))) from generate_series(1, 2400) n`
    await writer.close()
    const source = open(name)
    const { rows } = await copyDatabase({ source, openTarget })
    expect(rows).toContainEqual({ table: 'audit_log', count: 2400 })
    const all = (database: Database) =>
      database.sql`select tableoid::regclass::text as part, * from storage.audit_log order by at, id`
    const found = await all(open(address.database))
    expect(found).toHaveLength(2400)
    expect(new Set(found.map(({ part }) => part)).size).toBe(5)
    expect([...found]).toEqual([...(await all(source))])
  })

  it('keeps away who would write meanwhile, and lets him go on afterwards', async () => {
    const name = await newSource()
    const writer = cluster.address(name)
    const target = await newTarget()
    const sql = connectTo(
      { address: writer, isPooler: false },
      { max: 1, connection: { application_name: 'psql' } },
    )
    closing.push(() => sql.end({ timeout: 5 }))
    await copyDatabase({
      source: open(name),
      openTarget: async (schema) => {
        await sql`set lock_timeout = 1`
        await expect(
          sql`insert into storage.objects (bucket_id, name) values ('b', 'x')`,
        ).rejects.toMatchObject({
          code: '55P03',
        })
        return target.openTarget(schema)
      },
    })
    await sql`insert into storage.objects (bucket_id, name) values ('b', 'x')`
  })

  it('is not made while somebody serves, nor into one that has been used', async () => {
    const name = await newSource()
    const server = open(name)
    await server.sql`select 1`
    await expect(
      copyDatabase({ source: open(name), openTarget: () => expect.fail('not asked for') }),
    ).rejects.toThrow(/A Strongroom uses the database \(1 sessions/)
    await server.close()

    const used = open(await newSource())
    await expect(copyDatabase({ source: open(name), openTarget: async () => used.sql })).rejects.toThrow(
      /has rows of its own in storage\.buckets/,
    )
  })

  it('is given up when it is told to, and leaves nothing', async () => {
    const { address, openTarget } = await newTarget()
    const given = new AbortController()
    await expect(
      copyDatabase({
        source: open(await newSource()),
        openTarget,
        onProgress: () => given.abort(),
        signal: given.signal,
      }),
    ).rejects.toThrow(/abort/i)
    expect(await open(address.database).sql`select from storage.buckets`).toEqual([])
  })
})
