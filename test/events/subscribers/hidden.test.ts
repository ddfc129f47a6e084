import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { type EventReader, openEvents } from '../../support/event-stream.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/* What must not come to light by an event that is told when its object is gone, or is somewhere else. */

let server: TestServer
let bucket: string
const readers: EventReader[] = []

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await createBucket('public', 'somebody')
})
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close()
})

const createBucket = (policy: string, owner: string) => server.admin`
  insert into storage.buckets (id, name, policy, owner_id) values (${bucket}, ${bucket}, ${policy}, ${owner})`
const insert = (name: string) => server.admin`
  insert into storage.objects (bucket_id, name, metadata, checksum)
  values (${bucket}, ${name}, '{"size": 3, "mimetype": "text/plain"}', 'abc')`

/** All that has been kept of the bucket, as somebody hears it. */
async function replay(token = server.keys.anonKey) {
  const reader = await openEvents(server, { token, query: `?bucket=${bucket}`, lastEventId: 0 })
  readers.push(reader)
  return reader
}

it.each(['anon', 'authenticated'])('a restrictive policy for %s hides what has gone, too', async (role) => {
  const rule = `create policy "no drafts" on storage.objects as restrictive for select to ${role}
    using (name not like 'draft%')`
  await withPolicies(server.admin, rule, async () => {
    await insert('draft-1')
    await insert('draft-2')
    await server.admin`delete from storage.objects where bucket_id = ${bucket} and name = 'draft-1'`
    await server.admin`update storage.objects set name = 'final' where bucket_id = ${bucket}`
    await insert('end')
    const reader = await replay(await server.token('u1', role))
    expect(await reader.hears(3)).toEqual([
      `bucket.created ${bucket}`,
      'object.updated final',
      'object.created end',
    ])
    expect(JSON.stringify(reader.blocks)).not.toContain('draft')
  })
})

it('who may not see where an object has gone does not learn what was written there with it', async () => {
  const hidden = `h-${randomUUID()}`
  await server.createBucket(hidden)
  await insert('a')
  await server.admin`
    update storage.objects set bucket_id = ${hidden}, checksum = 'secret-sum',
      metadata = '{"size": 4242, "mimetype": "secret/type"}' where bucket_id = ${bucket}`
  const reader = await replay()
  await reader.hears(3)
  expect(reader.events()[2]).toMatchObject({ type: 'storage.object.deleted', path: 'a', size: null })
  expect(JSON.stringify(reader.blocks)).not.toMatch(/secret|4242/)
})

it('a bucket that is made again does not tell whose it was before', async () => {
  bucket = `b-${randomUUID()}`
  await createBucket('private', 'somebody')
  await server.admin`delete from storage.buckets where id = ${bucket}`
  await createBucket('public', 'somebody-else')
  const reader = await replay()
  expect(await reader.hears(1)).toEqual([`bucket.created ${bucket}`])
  expect(reader.events()[0]?.owner_id).toBe('somebody-else')
})
