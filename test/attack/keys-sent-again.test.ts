import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

/** What whoever sends an upload again under its key may not learn, or have done, by that (decision 0073). */

const MOST = 100_000

let server: TestServer
beforeAll(async () => {
  server = await startTestServer({ STORAGE_MAX_FILE_SIZE: String(MOST) })
})
afterAll(() => server.close())

type Json = Record<string, unknown>

const send = async (bucket: string, key: string, body: string, token?: string, name = 'pin.txt') => {
  const answer = await server.request('POST', `/storage/v1/object/${bucket}`, {
    body,
    headers: { 'x-file-name': name, 'idempotency-key': key },
    ...(token !== undefined && { token }),
  })
  return { status: answer.status, said: (await answer.json()) as Json }
}

/** A key whose request nobody knows the end of, as if the process had died on it. */
async function leftKey(bucket: string, token: string): Promise<string> {
  const key = randomUUID()
  const { status } = await send(bucket, key, key, token, `${key}.txt`)
  expect(status).toBe(201)
  await server.admin`update strongroom.idempotency_keys set answer = null, request = null, held_until = now()`
  return key
}

it('by a name that anybody can have made is not answered what another has stored', async () => {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { path_template: '{file_name}' })
  await server.admin.unsafe(`create policy "${bucket}" on storage.objects for insert to authenticated
    with check (bucket_id = '${bucket}')`)
  const put = await server.request('POST', `/storage/v1/object/${bucket}/pin.txt`, {
    body: '4711',
    token: await server.token('ada'),
    headers: { 'x-metadata': Buffer.from('{"of":"the vault"}').toString('base64') },
  })
  expect(put.status).toBe(201)
  const token = await server.token('eve')
  for (const guess of ['0000', '4711']) {
    const key = await leftKey(bucket, token)
    const { status, said } = await send(bucket, key, guess, token)
    expect([guess, status, said.code]).toEqual([guess, 409, 'KeyAlreadyExists'])
  }
  await server.admin.unsafe(`drop policy "${bucket}" on storage.objects`)
})

it('has no more read of it than an object may have', async () => {
  const bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
  const key = randomUUID()
  expect((await send(bucket, key, 'x')).status).toBe(201)
  const { status, said } = await send(bucket, key, 'x'.repeat(MOST + 1))
  expect([status, said.code]).toEqual([413, 'EntityTooLarge'])
})
