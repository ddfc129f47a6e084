import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { type Served, serveOn } from '../support/server.ts'

/*
 * What a policy, a trigger or a function of the user's can ask of PostgreSQL about the request (wire §7.5), and
 * that none of it outlives the request. The pool has one connection, so each request gets the one before's.
 */

const SETTINGS = [
  'role',
  'request.jwt.claims',
  'request.jwt.claim.role',
  'request.jwt.claim.sub',
  'request.jwt',
  'request.headers',
  'request.method',
  'request.path',
  'storage.operation',
  'storage.allow_delete_query',
  'statement_timeout',
  'search_path',
]

let testDatabase: TestDatabase
let server: Served
beforeAll(async () => {
  testDatabase = await createTestDatabase({ connections: 1 })
  server = await serveOn(testDatabase.database)
  await server.request('POST', '/bucket', { body: { name: 'docs', policy: 'authenticated' } })
  await testDatabase.admin.unsafe(`
    create table public.seen (id bigint generated always as identity, how text, who text, settings jsonb);
    create function public.look(how text) returns boolean language plpgsql volatile as $$
    begin
      insert into public.seen (how, who, settings)
      select how, current_user, jsonb_object_agg(name, current_setting(name, true))
      from unnest('{${SETTINGS.join(',')}}'::text[]) as name;
      return true;
    end $$;
    grant insert on public.seen to anon, authenticated, service_role;
    create function public.look_trigger() returns trigger language plpgsql as $$
    begin perform public.look(tg_op); return null; end $$;
    create trigger look after insert or update or delete on storage.objects
      for each row execute function public.look_trigger();
    create policy "look" on storage.objects as restrictive for select to anon, authenticated
      using (public.look('SELECT'));`)
})
afterEach(() => testDatabase.admin`truncate public.seen`)
afterAll(async () => {
  await server.close() // closes the pool too
  await testDatabase.drop()
})

describe('a trigger or policy sees', () => {
  const sub = randomUUID()

  it.each([
    // what, the request, the operation
    ['INSERT', 'POST', '/object/docs/a.txt?x=%20y', 'a', 'storage.object.upload'],
    ['UPDATE', 'PUT', '/object/docs/a.txt', 'b', 'storage.object.upload_update'],
    ['SELECT', 'GET', '/object/docs/a.txt?download=', undefined, 'storage.object.get_authenticated'],
    ['SELECT', 'HEAD', '/object/docs/a.txt', undefined, 'object.head_authenticated_info'],
    ['SELECT', 'GET', '/object/info/docs/a.txt', undefined, 'object.get_authenticated_info'],
    ['SELECT', 'POST', '/object/list/docs', { prefix: '' }, 'storage.object.list'],
    ['SELECT', 'POST', '/object/list-v2/docs', {}, 'storage.object.list_v2'],
    ['SELECT', 'POST', '/object/sign/docs/a.txt', { expiresIn: 9 }, 'storage.object.sign'],
    ['SELECT', 'POST', '/object/sign/docs', { expiresIn: 9, paths: ['a.txt'] }, 'storage.object.sign_many'],
    [
      'INSERT',
      'POST',
      '/object/copy',
      { bucketId: 'docs', sourceKey: 'a.txt', destinationKey: 'b.txt' },
      'storage.object.copy',
    ],
    [
      'UPDATE',
      'POST',
      '/object/move',
      { bucketId: 'docs', sourceKey: 'b.txt', destinationKey: 'c.txt' },
      'storage.object.move',
    ],
    ['DELETE', 'DELETE', '/object/docs/c.txt', undefined, 'storage.object.delete'],
    ['DELETE', 'DELETE', '/object/docs', { prefixes: ['a.txt'] }, 'storage.object.delete_many'],
  ])('at %s for %s %s the request and its caller', async (how, method, path, body, operation) => {
    const token = await server.token(sub)
    const response = await server.request(method, `/storage/v1${path}`, { token, ...(body && { body }) })
    expect(response.ok).toBe(true)
    await response.text()
    const seen = await testDatabase.admin<{ who: string; settings: Record<string, string> }[]>`
      select who, settings from public.seen where how = ${how} order by id desc`
    const settings = seen[0]?.settings
    expect(seen[0]?.who).toBe('authenticated')
    expect(settings).toMatchObject({
      role: 'authenticated',
      'request.jwt': token,
      'request.jwt.claim.role': 'authenticated',
      'request.jwt.claim.sub': sub,
      'request.method': method,
      'request.path': path,
      'storage.operation': operation,
      'storage.allow_delete_query': 'true',
      statement_timeout: path.startsWith('/object/list') ? '5s' : '30s',
      search_path: expect.stringMatching(/^storage\b/),
    })
    expect(JSON.parse(settings?.['request.jwt.claims'] ?? '')).toMatchObject({ sub, role: 'authenticated' })
    expect(JSON.parse(settings?.['request.headers'] ?? '')).toMatchObject({
      authorization: `Bearer ${token}`,
    })
  })

  it('empty texts for what the caller does not have', async () => {
    expect((await server.request('POST', '/object/docs/service.txt', { body: 'x' })).status).toBe(201)
    const [seen] = await testDatabase.admin<{ who: string; settings: Record<string, string> }[]>`
      select who, settings from public.seen where how = 'INSERT'`
    expect(seen?.who).toBe('service_role')
    expect(seen?.settings).toMatchObject({
      'request.jwt.claim.sub': '',
      'request.jwt.claim.role': 'service_role',
    })
  })
})

describe('after a request', () => {
  it('nothing of its caller is left on the connection, whether it went well or not', async () => {
    const token = await server.token(randomUUID())
    const fresh = await left()
    expect(fresh).toMatchObject({ role: 'none', 'request.jwt.claims': '', 'storage.operation': '' })
    for (const [method, path, body, status] of [
      ['POST', '/object/docs/left.txt', 'x', 201],
      ['POST', '/object/docs/left.txt', 'x', 409],
      ['POST', '/object/docs/large.txt', 'x'.repeat(400_000), 201],
      ['POST', '/object/nowhere/left.txt', 'x', 404],
      ['GET', '/object/docs/left.txt', undefined, 200],
      ['GET', '/object/docs/absent.txt', undefined, 404],
      ['POST', '/object/list/docs', { prefix: '' }, 200],
      ['POST', '/object/list/docs', { prefix: '\0' }, 400],
      ['POST', '/bucket', { name: 'new-one' }, 403],
      ['DELETE', '/object/docs/service.txt', undefined, 403],
      ['DELETE', '/object/docs/left.txt', undefined, 204],
    ] as const) {
      const response = await server.request(method, path, { token, ...(body && { body }) })
      await response.text()
      expect(response.status).toBe(status)
      expect(await left()).toEqual(fresh)
    }
  })

  it('the next caller on the same connection is nobody but themselves', async () => {
    const users = await Promise.all(
      [1, 2, 3].map(async () => {
        const sub = randomUUID()
        return { sub, role: 'authenticated', token: await server.token(sub) }
      }),
    )
    const callers = [
      ...users,
      { sub: '', role: 'anon', token: server.keys.anonKey },
      { sub: '', role: 'service_role', token: server.keys.serviceKey },
    ]
    for (const user of users) {
      await server.request('POST', `/object/docs/${user.sub}`, { token: user.token, body: user.sub })
    }
    await testDatabase.admin`truncate public.seen`

    // All at once, so that requests of different callers queue for the one connection between their statements.
    const rounds = Array.from({ length: 40 }, (_, round) => round)
    await Promise.all(
      rounds.flatMap((round) =>
        callers.map(async ({ sub, role, token }, at) => {
          const target = users[(round + at) % users.length]?.sub ?? ''
          const read = await server.request('GET', `/object/docs/${target}`, { token })
          expect([read.status, role]).toEqual([role === 'anon' ? 404 : 200, role])
          await read.text()
          const write = await server.request('POST', `/object/docs/${round}-${at}`, { token, body: 'x' })
          expect(write.status).toBe(role === 'anon' ? 403 : 201)
          const owner = ((await write.json()) as { owner_id?: string | null }).owner_id
          if (write.ok) expect(owner).toBe(sub === '' ? null : sub)
        }),
      ),
    )
    const subs = new Map(users.map((user) => [user.token, user.sub]))
    const seen = await testDatabase.admin<{ who: string; settings: Record<string, string> }[]>`
      select who, settings from public.seen`
    expect(seen.length).toBeGreaterThan(40 * 4)
    for (const { who, settings } of seen) {
      expect(settings['request.jwt.claim.sub']).toBe(subs.get(settings['request.jwt'] ?? '') ?? '')
      expect(settings.role).toBe(who)
      expect(JSON.parse(settings['request.jwt.claims'] ?? '')).toMatchObject({ role: who })
    }
    for (const user of users) {
      const rows = await testDatabase.admin`
        select from storage.objects where owner_id = ${user.sub} and name like '%-%' and name <> ${user.sub}`
      expect(rows).toHaveLength(40)
    }
  })
})

/** What the server's one connection says between requests. */
async function left(): Promise<Record<string, string>> {
  const rows = await testDatabase.database.sql<{ name: string; value: string | null }[]>`
    select name, coalesce(current_setting(name, true), '') as value from unnest(${SETTINGS}::text[]) as name`
  return Object.fromEntries(rows.map(({ name, value }) => [name, value ?? '']))
}
