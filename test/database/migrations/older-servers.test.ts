import { readFile } from 'node:fs/promises'
import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { migrate } from '../../../src/database/migrations/migrate.ts'
import { type Cluster, openCluster } from '../../support/blank-database.ts'

/** What servers of the version before find, which go on beside newer ones during an upgrade (docs/upgrade.md). */

let cluster: Cluster
let sql: postgres.Sql
beforeAll(async () => {
  cluster = openCluster()
  const database = await cluster.newDatabase()
  await migrate(cluster.address(database), pino({ level: 'silent' }))
  sql = cluster.open(database).sql
})
afterAll(() => cluster.close())

/**
 * The functions that they call, with what these return. Where it must be something else, the new one has another name or other
 * arguments, and the one of before is in drizzle/functions/older-servers.sql: a statement that is prepared and returns something
 * else costs such a server the connection.
 */
it('each function that they call returns what it did', async () => {
  const before = JSON.parse(await readFile(new URL('functions-of-before.json', import.meta.url), 'utf8'))
  const rows = await sql<{ call: string; result: string }[]>`
    select format('%s(%s)', proname, oidvectortypes(proargtypes)) as call,
      coalesce((
        select string_agg(format('%s %s', proargnames[i], format_type(proallargtypes[i], null)), ', ' order by i)
        from generate_subscripts(proargmodes, 1) i where proargmodes[i] in ('o', 't')
      ), format_type(prorettype, null)) as result
    from pg_proc where pronamespace = 'storage'::regnamespace and has_function_privilege('strongroom_server', oid, 'execute')`
  const now = new Map(rows.map(({ call, result }) => [call, result]))
  expect(Object.keys(before).length).toBeGreaterThan(50)
  expect(Object.fromEntries(Object.keys(before).map((call) => [call, now.get(call)]))).toEqual(before)
})

describe('the sweep of such a server, which knows the bytes of objects alone,', () => {
  /** What it does before it asks for the last time whether anything names the bytes that it has in mind. */
  const beginSweep = () => sql`select storage.begin_sweep()`
  const refused = {
    code: '55000',
    message: expect.stringContaining('does not know what versions and the trash name'),
  }
  const put = (bucket: string) =>
    sql`insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', gen_random_uuid()::text)`

  it('goes on as long as nothing is kept', async () => {
    const [before] = await sql`select storage.last_sweep()::int as last`
    await sql`insert into storage.buckets (id, name) values ('plain', 'plain')`
    await put('plain')
    await sql`delete from storage.objects where bucket_id = 'plain'`
    await beginSweep()
    expect(await sql`select storage.last_sweep()::int as last`).toEqual([{ last: before?.last + 1 }])
  })

  it.each([
    ['a version', { versioning_status: 'ENABLED', trash_days: 0 }],
    ['something in the trash', { versioning_status: 'DISABLED', trash_days: 7 }],
  ])('removes nothing once there is %s', async (bucket, { versioning_status, trash_days }) => {
    await sql`insert into storage.buckets (id, name, versioning_status, trash_days)
      values (${bucket}, ${bucket}, ${versioning_status}, ${trash_days})`
    await put(bucket)
    await beginSweep()
    await sql`delete from storage.objects where bucket_id = ${bucket}`
    await expect(beginSweep()).rejects.toMatchObject(refused)
    await sql`delete from storage.object_versions where bucket_id = ${bucket}`
    await beginSweep()
  })
})
