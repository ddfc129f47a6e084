import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { trimEvents } from '../../../src/database/queries/events.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})

/** What happened to this test's objects, oldest first. */
const events = async () =>
  (
    await server.admin`
      select type, name, old_name, size::int, content_type from storage.events
      where (bucket_id = ${bucket} or old_bucket_id = ${bucket}) and name is not null order by id`
  ).map((row) => Object.values(row))

const upload = (name: string, body: string, method = 'POST') =>
  server.request(method, `/object/${bucket}/${name}`, { body, headers: { 'content-type': 'text/plain' } })

describe('what happens to an object is on record, in its own transaction', () => {
  it('when clients do it', async () => {
    await upload('a.txt', 'one')
    await upload('a.txt', 'twelve', 'PUT')
    await server.request('POST', '/object/move', {
      body: { bucketId: bucket, sourceKey: 'a.txt', destinationKey: 'b.txt' },
    })
    await server.request('DELETE', `/object/${bucket}/b.txt`)
    expect(await events()).toEqual([
      ['storage.object.created', 'a.txt', null, 3, 'text/plain'],
      ['storage.object.updated', 'a.txt', null, 6, 'text/plain'],
      ['storage.object.updated', 'b.txt', 'a.txt', 6, 'text/plain'],
      ['storage.object.deleted', 'b.txt', null, 6, 'text/plain'],
    ])
  })

  it('when plain SQL does it', async () => {
    await server.admin`insert into storage.objects (bucket_id, name) values (${bucket}, 'sql.txt')`
    await server.admin`update storage.objects set name = 'moved.txt' where bucket_id = ${bucket}`
    await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    expect(await events()).toEqual([
      ['storage.object.created', 'sql.txt', null, null, null],
      ['storage.object.updated', 'moved.txt', 'sql.txt', null, null],
      ['storage.object.deleted', 'moved.txt', null, null, null],
    ])
  })

  it('but not when it is refused or taken back', async () => {
    await upload('a.txt', 'one')
    expect((await upload('a.txt', 'again')).status).toBe(409)
    // Tried and taken back before the bytes are read.
    await server.request('POST', `/object/${bucket}/a.txt`, { body: 'x'.repeat(400_000) })
    await server.admin
      .begin(async (sql) => {
        await sql`delete from storage.objects where bucket_id = ${bucket}`
        throw new Error('changed my mind')
      })
      .catch(() => {})
    expect(await events()).toHaveLength(1)
  })

  it('and not when only a mark or a time of access changes', async () => {
    await upload('a.txt', 'one')
    await server.admin`update storage.objects set last_accessed_at = now() where bucket_id = ${bucket}`
    await server.admin`update storage.objects set quarantine_reason = 'missing' where bucket_id = ${bucket}`
    expect(await events()).toHaveLength(1)
  })

  it('also of buckets', async () => {
    await server.request('DELETE', `/bucket/${bucket}`)
    const rows = await server.admin`select type from storage.events where bucket_id = ${bucket} order by id`
    expect(rows.map((row) => row.type)).toEqual(['storage.bucket.created', 'storage.bucket.deleted'])
  })
})

it('is nobody else’s to read or to write', async () => {
  for (const role of ['anon', 'authenticated']) {
    await expect(
      server.admin.begin(async (sql) => {
        await sql.unsafe(`set local role ${role}`)
        await sql`select * from storage.events`
      }),
    ).rejects.toMatchObject({ code: '42501' })
  }
})

it('keeps no more than 64 KiB of user metadata', async () => {
  const large = JSON.stringify({ text: 'x'.repeat(70_000) })
  await server.admin`insert into storage.objects (bucket_id, name, user_metadata)
    values (${bucket}, 'small', '{"text": "x"}'), (${bucket}, 'large', ${large}::text::jsonb)`
  const rows = await server.admin`
    select name, user_metadata from storage.events where bucket_id = ${bucket} and name is not null order by id`
  expect(rows.map((row) => [row.name, row.user_metadata])).toEqual([
    ['small', { text: 'x' }],
    ['large', null],
  ])
})

it('is trimmed by age, so many at a time', async () => {
  const week = 7 * 86_400_000
  await trimEvents(server.database, 0, 1000) // what other tests have left
  for (const name of ['a', 'b', 'c']) await upload(name, name)
  await server.admin`update storage.events set created_at = now() - interval '8 days' where bucket_id = ${bucket}`
  await upload('d', 'new')
  expect(await trimEvents(server.database, week, 2)).toBe(2)
  expect(await trimEvents(server.database, week, 2)).toBe(1)
  expect(await events()).toEqual([['storage.object.created', 'd', null, 3, 'text/plain']])
})
