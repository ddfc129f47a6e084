import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../support/server.ts'

/** What the embedded database gives on new tables. One of the operator's own keeps what he has said. */
let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('hidden')
  await server.request('POST', '/object/hidden/a.txt', { body: 'a' })
})
afterAll(() => server.close())

it('a policy may ask a new table in public without a grant, as on Supabase', async () => {
  await server.admin.unsafe(`
    create table public.team (member text);
    insert into public.team values ('ada');
    create policy "members" on storage.objects for select to authenticated
      using (bucket_id = 'hidden' and exists (select from public.team t where t.member = auth.jwt() ->> 'sub'))`)
  const read = async (subject: string) =>
    (await server.request('GET', '/object/hidden/a.txt', { token: await server.token(subject) })).status
  expect([await read('ada'), await read('bob')]).toEqual([200, 404])
  // RLS, not the grant, says who sees what of the table itself.
  await server.admin`alter table public.team enable row level security`
  expect(await read('ada')).toBe(404)
})
