import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { dropPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

/* docs/policies.md: examples. */

const folder = (subject: string) => `create policy "own folder" on storage.objects for all to authenticated
  using      (bucket_id = 'docs' and (storage.foldername(name))[1] = (select ${subject}))
  with check (bucket_id = 'docs' and (storage.foldername(name))[1] = (select ${subject}))`

describe.each(['', 'supabase'])('with STORAGE_COMPAT=%j a subject that is no UUID', (compat) => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer(compat === '' ? {} : { STORAGE_COMPAT: compat })
    await server.createBucket('docs')
    await server.createBucket('team')
    await server.request('PUT', '/object/team/plan.txt', { body: 'plan' })
  })
  afterAll(() => server.close())
  afterEach(() => dropPolicies(server.admin))

  const status = async (method: string, path: string, token: string) =>
    (await server.request(method, path, { token, ...(method === 'PUT' && { body: 'x' }) })).status

  it('is named, and so is what takes it, when auth.uid() cannot', async () => {
    await server.admin.unsafe(folder('auth.uid()::text'))
    const tom = await server.token('user-tom')
    await server.request('PUT', '/object/docs/user-tom/b.txt', { body: 'x' })
    for (const [method, path] of [
      ['PUT', '/object/docs/user-tom/a.txt'],
      ['GET', '/object/authenticated/docs/user-tom/b.txt'],
    ] as const) {
      const response = await server.request(method, path, {
        token: tom,
        ...(method === 'PUT' && { body: 'x' }),
      })
      const { message } = (await response.json()) as { message: string }
      expect([method, response.status]).toEqual([method, 400])
      expect(message).toContain("the token's sub is no UUID; auth.jwt()->>'sub' takes any")
    }
  })

  it.each(['user-tom', '1d0c9bb8-9d4b-4d2f-8f4e-0b9d1a4d3c55'])(
    "has a folder of its own by auth.jwt()->>'sub', and so has %j",
    async (subject) => {
      await server.admin.unsafe(folder("auth.jwt()->>'sub'"))
      const [own, other] = [await server.token(subject), await server.token('somebody else')]
      const path = `docs/${encodeURIComponent(subject)}/a.txt`
      expect(await status('PUT', `/object/${path}`, own)).toBeLessThan(300)
      expect(await status('GET', `/object/authenticated/${path}`, own)).toBe(200)
      expect(await status('GET', `/object/authenticated/${path}`, other)).toBeGreaterThanOrEqual(400)
      expect(await status('PUT', `/object/${path}`, other)).toBeGreaterThanOrEqual(400)
      expect(await status('DELETE', `/object/${path}`, own)).toBeLessThan(300)
    },
  )

  it('may be a member of a team', async () => {
    await server.admin.unsafe(`
      create table public.members (bucket text, user_id text, primary key (bucket, user_id));
      grant select on public.members to authenticated;
      insert into public.members values ('team', 'user-tom');
      create policy "team reads" on storage.objects for select to authenticated
        using (exists (select 1 from public.members m
                       where m.bucket = bucket_id and m.user_id = (select auth.jwt()->>'sub')));`)
    const path = '/object/authenticated/team/plan.txt'
    expect(await status('GET', path, await server.token('user-tom'))).toBe(200)
    expect(await status('GET', path, await server.token('user-eve'))).toBeGreaterThanOrEqual(400)
  })
})
