import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { withPolicies } from '../support/policies.ts'
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

it('a restore to elsewhere does not tell what is there, nor when it was changed', async () => {
  const subject = randomUUID()
  const token = await server.token(subject)
  await server.createBucket('both', { versioning_status: 'ENABLED' })
  const own = `
    create policy seen on storage.objects for select to authenticated using (owner_id = auth.jwt() ->> 'sub');
    create policy made on storage.objects for insert to authenticated
      with check (owner_id = auth.jwt() ->> 'sub' and name like 'mine/%')`
  const ask = async (method: string, path: string, init: object) => {
    const answer = await server.request(method, `/storage/v1${path}`, init)
    // A moment so many days ago, which goes on.
    return { status: answer.status, text: (await answer.text()).replace(/"history_since":"[^"]*"/, '') }
  }
  await withPolicies(server.admin, own, async () => {
    const same = { body: 'the same bytes', headers: { 'content-type': 'text/plain' } }
    expect(await ask('POST', '/object/both/mine/a', { ...same, token })).toMatchObject({ status: 201 })
    const [row] = await server.admin`
      select pg_sleep(0.002), to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`
    for (const path of ['same/a', 'gone/a']) await ask('POST', `/object/both/${path}`, same)
    await ask('POST', '/object/both/others/a', { ...same, body: 'other bytes' })
    await ask('DELETE', '/object/both/gone/a', {})
    // Made up: the restore has begun long ago, and all that is there came later.
    const cursor = Buffer.from('{"after":"","began":"2000-01-01T00:00:00.000Z"}').toString('base64url')
    for (const more of [{ dry_run: true }, { dry_run: true, cursor }, {}, { cursor }]) {
      const restore = (to: string) =>
        ask('POST', '/versions/restore', {
          token,
          body: { bucket: 'both', prefix: 'mine/', at: row?.at, to, ...more },
        })
      const nothing = await restore('nothing/')
      expect(nothing.text).toContain('dry_run' in more ? '"restored":1' : 'AccessDenied')
      for (const to of ['same/', 'others/', 'gone/']) expect(await restore(to), to).toEqual(nothing)
    }
  })
})
