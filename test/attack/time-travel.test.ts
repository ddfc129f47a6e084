import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import { besideInnocent } from './support/innocent.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('much', { policy: 'authenticated', versioning_status: 'ENABLED' })
  // By SQL, without bytes: 3000 names that were deleted.
  await server.admin`
    insert into storage.objects (bucket_id, name, version, metadata)
    select 'much', 'dir/' || i, gen_random_uuid(), '{"size": 1}' from generate_series(1, 3000) i`
})
afterAll(() => server.close())

it('thousands of names that are to be restored hold up nobody', async () => {
  const [row] = await server.admin`
    select pg_sleep(0.002), to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`
  await server.admin`delete from storage.objects where bucket_id = 'much'`
  const token = await server.token(randomUUID())
  const ask = async (path: string, body: object) => {
    const answer = await server.request('POST', `/storage/v1${path}`, { token, body })
    return { status: answer.status, text: await answer.text() }
  }
  const restore = { bucket: 'much', prefix: '', at: row?.at }
  const attack = () =>
    Promise.all([
      ...Array.from({ length: 3 }, () => ask('/versions/restore', restore)),
      ...Array.from({ length: 20 }, () => ask('/versions/restore', { ...restore, dry_run: true })),
      ...Array.from({ length: 20 }, () => ask('/object/list-v2/much', { at: row?.at })),
    ])
  const { result } = await besideInnocent(server, attack)
  for (const { status, text } of result) {
    // Who asks for much at once waits for his own turn, and may be told to ask for less.
    expect([200, 429, 503], text).toContain(status)
    if (status === 200 && text.includes('"sample"'))
      expect(JSON.parse(text).sample.length).toBeLessThanOrEqual(200)
  }
  expect(result.some(({ status }) => status === 200)).toBe(true)
})
