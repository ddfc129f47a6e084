import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  await upload('a.txt')
  await server.admin`update storage.objects set tags = '{urgent,project=apollo}' where bucket_id = ${bucket}`
})
afterAll(() => server.close())

describe('tags', () => {
  it('of a row are none until somebody sets them, and a change of them is a change of the object', async () => {
    await upload('b.txt')
    expect(await tagsOf('b.txt')).toEqual([])
    await server.admin`update storage.objects set tags = '{x}' where bucket_id = ${bucket} and name = 'b.txt'`
    const events = await server.admin`
      select type from storage.events where bucket_id = ${bucket} and name = 'b.txt' order by id`
    expect(events.map(({ type }) => type)).toEqual(['storage.object.created', 'storage.object.updated'])
  })

  it('go with a copy and a move, and not with a new version', async () => {
    const route = { bucketId: bucket, sourceKey: 'a.txt' }
    for (const [verb, destinationKey] of [
      ['copy', 'copy.txt'],
      ['move', 'moved.txt'],
    ]) {
      const body = { ...route, destinationKey }
      expect((await server.request('POST', `/storage/v1/object/${verb}`, { body })).status).toBe(200)
      expect(await tagsOf(`${destinationKey}`)).toEqual(['urgent', 'project=apollo'])
    }
    await upload('moved.txt')
    expect(await tagsOf('moved.txt')).toEqual([])
  })

  it('of a write to be are seen by the policies', async () => {
    const policy = `create policy "tagged" on storage.objects for insert to authenticated
      with check (bucket_id = '${bucket}' and 'mine' = any (tags))`
    const trial = (tags: string[]) =>
      server.admin.begin(async (sql) => {
        await sql`set local role authenticated`
        await sql`select storage.trial_write(${bucket}, 'new', null, 'me', '{}', '{}', false, ${tags})`
      })
    await withPolicies(server.admin, policy, async () => {
      await trial(['other', 'mine'])
      await expect(trial(['other'])).rejects.toMatchObject({ code: '42501' })
      await expect(trial([])).rejects.toMatchObject({ code: '42501' })
    })
  })
})

async function upload(name: string): Promise<void> {
  const headers = { 'x-upsert': 'true' }
  const response = await server.request('POST', `/storage/v1/object/${bucket}/${name}`, {
    headers,
    body: 'x',
  })
  expect(response.ok).toBe(true)
}

async function tagsOf(name: string): Promise<string[]> {
  const [row] = await server.admin`
    select tags from storage.objects where bucket_id = ${bucket} and name = ${name}`
  return row?.tags
}
