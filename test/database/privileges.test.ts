import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type postgres from '#postgres'
import { startTestServer, type TestServer } from '../support/server.ts'

// What somebody could do who got to run SQL under a caller's role, be it by a hole in another service.
let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('hidden')
  await server.request('POST', '/object/hidden/a.txt', { body: 'a' })
})
afterAll(() => server.close())

/** Runs SQL as the server's login that became this role; what it did is taken back. */
async function as(role: string, run: (sql: postgres.TransactionSql) => Promise<unknown>): Promise<unknown> {
  const undo = new Error('undo')
  let result: unknown
  await server.database.sql
    .begin(async (sql) => {
      await sql.unsafe(`set local role ${role}`)
      result = await run(sql)
      throw undo
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error
    })
  return result
}

describe.each(['anon', 'authenticated'])('%s', (role) => {
  it.each([
    ['truncate storage.objects'],
    ['truncate storage.buckets cascade'],
    [
      'create trigger t before insert on storage.objects for each row execute function storage.touch_updated_at()',
    ],
    ['select * from storage.uploads'],
    ['select * from storage.removals'],
    ['select * from storage.former_buckets'],
    ['select * from storage.events'],
    ['select * from storage.scrubs'],
    ['select * from storage.moves'],
    ['select * from storage.webhooks'],
    ['select * from storage.webhook_deliveries'],
    ['select * from storage.credentials'],
    ['delete from storage.credentials'],
    ["insert into storage.credentials values ('SRA', '', 'service_role', null, '{}', '')"],
    ["select * from storage.find_credential('SRA')"],
    ['select * from strongroom.bucket_rules'],
    ['select * from strongroom.turns'],
    ['select * from strongroom.ordering'],
    ['select * from strongroom.channel'],
    ["select storage.act_as('service_role', '', '{}', '', '', '', '', '{}', false)"],
    ["select * from storage.bucket_settings('hidden')"],
    ['select storage.strike_removals(array[]::uuid[])'],
    ['select storage.beat_uploads(array[]::uuid[])'],
  ])('may not: %s', async (statement) => {
    await expect(as(role, (sql) => sql.unsafe(statement))).rejects.toMatchObject({ code: '42501' })
  })

  it('may not borrow the rights of the functions that look after bytes', async () => {
    const attempt = as(role, async (sql) => {
      await sql.unsafe(`create temp table t (version text, bytes_bucket uuid, bucket_id text)`)
      await sql.unsafe(
        `create trigger x after delete on t for each row execute function storage.list_removal()`,
      )
    })
    await expect(attempt).rejects.toMatchObject({ code: '42501' })
  })
})

it('no function of ours with its owner’s rights looks for names in a temporary schema first', async () => {
  const rows = await server.admin`
    select proname from pg_proc
    where pronamespace in ('storage'::regnamespace, 'strongroom'::regnamespace)
      and (prosecdef or prorettype = 'trigger'::regtype) and not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)`
  expect(rows).toEqual([])
})

it('a bucket is never neither public nor private', async () => {
  await server.admin`insert into storage.buckets (id, name, public) values ('unsaid', 'unsaid', null)`
  expect(await server.admin`select public, policy from storage.buckets where id = 'unsaid'`).toEqual([
    { public: false, policy: 'private' },
  ])
})
