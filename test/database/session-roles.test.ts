import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** More at once than there are connections. */
const CROWD = 40

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket)
})
afterAll(() => server?.close())

const crowd = (ask: (n: number) => Promise<Response>) =>
  Promise.all(Array.from({ length: CROWD }, async (_, n) => (await ask(n)).status))

it('a role that a policy leaves behind in its session is not there for long', async () => {
  await server.admin.unsafe(`
    create function public.leaves_role() returns boolean language plpgsql volatile as
      $$ begin perform set_config('role', 'anon', false); return true; end $$;
    create policy leaves_role on storage.objects for insert to anon
      with check (bucket_id = '${bucket}' and public.leaves_role())`)
  const left = await crowd((n) =>
    server.request('POST', `/object/${bucket}/left/${n}`, {
      body: 'x',
      headers: { authorization: `Bearer ${server.keys.anonKey}` },
    }),
  )
  expect(left).toContain(201)
  const ways: [way: string, ask: (n: number) => Promise<Response>][] = [
    ['in one call', (n) => server.request('PUT', `/object/${bucket}/small/${n}`, { body: 'x' })],
    [
      'in a transaction',
      (n) => server.request('PUT', `/object/${bucket}/large/${n}`, { body: 'x'.repeat(300_000) }),
    ],
    ['by a read', (n) => server.request('GET', `/object/${bucket}/large/${n}`)],
  ]
  for (const [way, ask] of ways) {
    await until(async () => (await crowd(ask)).every((status) => status < 300), `all are answered ${way}`)
  }
  await until(async () => {
    const [row] = await server.admin`
      select count(*)::int as left from storage.events e
      where not exists (select from storage.event_order o where o.event_id = e.id)`
    return row?.left === 0
  }, 'events go on')
})
