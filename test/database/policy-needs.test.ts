import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { withPolicies } from '../support/policies.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

/*
 * Which policies an action needs (wire §7.7): exactly these and no others. Each action is tried with its needs,
 * and then with all four but one of them, which has to be refused.
 */

const COMMANDS = ['select', 'insert', 'update', 'delete'] as const
type Command = (typeof COMMANDS)[number]

let server: TestServer
let token: string
beforeAll(async () => {
  server = await startTestServer()
  token = await server.token('a-user')
  await server.createBucket('docs')
  await server.createBucket('target')
})
afterAll(() => server.close())

/** Each action is tried on an object `name` that the service has stored, and a name that is free. */
const actions: {
  action: string
  needs: Command[]
  run: (name: string, free: string) => Promise<Response>
}[] = [
  { action: 'a plain upload', needs: ['insert'], run: (_, free) => upload(free) },
  {
    action: 'a large upload',
    needs: ['insert'],
    run: (_, free) => upload(free, { body: 'x'.repeat(400_000) }),
  },
  {
    action: 'a signed upload URL',
    needs: ['insert'],
    run: (_, free) => ask('POST', `/object/upload/sign/docs/${free}`),
  },
  {
    action: 'an upsert of a new object',
    needs: ['insert', 'select'],
    run: (_, free) => upload(free, { headers: { 'x-upsert': 'true' } }),
  },
  {
    action: 'an upsert of an object that is there',
    needs: ['insert', 'select', 'update'],
    run: (name) => upload(name, { headers: { 'x-upsert': 'true' } }),
  },
  {
    action: 'a large upsert of an object that is there',
    needs: ['insert', 'select', 'update'],
    run: (name) => upload(name, { headers: { 'x-upsert': 'true' }, body: 'x'.repeat(400_000) }),
  },
  {
    action: 'PUT',
    needs: ['insert', 'select', 'update'],
    run: (name) => ask('PUT', `/object/docs/${name}`, 'new'),
  },
  {
    action: 'a signed upload URL that may overwrite',
    needs: ['insert', 'select', 'update'],
    run: (name) =>
      server.request('POST', `/object/upload/sign/docs/${name}`, { token, headers: { 'x-upsert': 'true' } }),
  },
  { action: 'a download', needs: ['select'], run: (name) => ask('GET', `/object/docs/${name}`) },
  { action: 'HEAD', needs: ['select'], run: (name) => ask('HEAD', `/object/docs/${name}`) },
  { action: 'info', needs: ['select'], run: (name) => ask('GET', `/object/info/docs/${name}`) },
  {
    action: 'signing',
    needs: ['select'],
    run: (name) => ask('POST', `/object/sign/docs/${name}`, { expiresIn: 60 }),
  },
  {
    action: 'a copy',
    needs: ['select', 'insert'],
    run: (name, free) =>
      ask('POST', '/object/copy', { bucketId: 'docs', sourceKey: name, destinationKey: free }),
  },
  {
    action: 'a copy over an object',
    needs: ['select', 'insert', 'update'],
    run: (name) =>
      server.request('POST', '/object/copy', {
        token,
        headers: { 'x-upsert': 'true' },
        body: { bucketId: 'docs', sourceKey: name, destinationKey: name },
      }),
  },
  {
    action: 'a move',
    needs: ['select', 'update'],
    run: (name, free) =>
      ask('POST', '/object/move', { bucketId: 'docs', sourceKey: name, destinationKey: free }),
  },
  {
    action: 'a move to another bucket',
    needs: ['select', 'update'],
    run: (name, free) => {
      const to = { destinationBucket: 'target', destinationKey: free }
      return ask('POST', '/object/move', { bucketId: 'docs', sourceKey: name, ...to })
    },
  },
  {
    action: 'a delete',
    needs: ['select', 'delete'],
    run: (name) => ask('DELETE', `/object/docs/${name}`),
  },
]

describe.each(actions)('$action', ({ needs, run }) => {
  it(`is allowed by ${needs.join(', ')} alone`, async () => {
    const { name, free } = await stored()
    const response = await withPolicies(server.admin, allow(needs), () => run(name, free))
    expect([response.status, await response.text()]).toEqual([
      expect.toSatisfy((s) => s < 300),
      expect.anything(),
    ])
  })

  it.each(needs)('is refused without %s, and changes nothing', async (missing) => {
    const { name, free } = await stored()
    const others = COMMANDS.filter((command) => command !== missing)
    const [rows, files] = [await allRows(), await server.storedFiles()]
    const response = await withPolicies(server.admin, allow(others), () => run(name, free))
    expect([403, 404]).toContain(response.status)
    expect([await allRows(), await server.storedFiles()]).toEqual([rows, files])
    expect(await server.admin`select version from storage.uploads`).toEqual([])
  })
})

describe('a bulk delete', () => {
  it('deletes with select and delete, and else tells of nothing deleted', async () => {
    for (const commands of [['select'], ['delete'], ['select', 'delete']] as Command[][]) {
      const { name } = await stored()
      const response = await withPolicies(server.admin, allow(commands), () =>
        ask('DELETE', '/object/docs', { prefixes: [name, 'absent'] }),
      )
      expect(response.status).toBe(200)
      const deleted = (await response.json()) as { name: string }[]
      expect(deleted.map((row) => row.name)).toEqual(commands.length === 2 ? [name] : [])
      expect((await allRows()).some((row) => row.name === name)).toBe(commands.length !== 2)
    }
  })
})

describe('buckets', () => {
  const onBuckets: [string, Command[], (id: string) => Promise<Response>, number][] = [
    ['make', ['insert'], (id) => ask('POST', '/bucket', { name: `${id}-new` }), 403],
    ['see', ['select'], (id) => ask('GET', `/bucket/${id}`), 404],
    ['change', ['select', 'update'], (id) => ask('PUT', `/bucket/${id}`, { public: true }), 404],
    ['delete', ['select', 'delete'], (id) => ask('DELETE', `/bucket/${id}`), 404],
  ]
  it.each(onBuckets)('%s: needs %j and no more', async (_, needs, run, refusal) => {
    const id = `b-${randomUUID()}`
    await server.createBucket(id)
    for (const missing of needs) {
      const others = needs.filter((command) => command !== missing)
      const refused = await withPolicies(server.admin, allow(others, 'buckets'), () => run(id))
      expect(refused.status).toBe(missing === 'update' || missing === 'delete' ? 403 : refusal)
    }
    expect(await server.admin`select id, public from storage.buckets where id like ${`${id}%`}`).toEqual([
      { id, public: false },
    ])
    const granted = await withPolicies(server.admin, allow(needs, 'buckets'), () => run(id))
    expect(granted.ok).toBe(true)
  })
})

describe('an UPDATE policy', () => {
  const mayMove = `
    create policy "see" on storage.objects for select to authenticated using (bucket_id = 'docs');
    create policy "within" on storage.objects for update to authenticated
      using (bucket_id = 'docs') with check (bucket_id = 'docs' and storage.foldername(name) = '{ok}');`

  it.each([
    ['lets an object move to a name it takes', { destinationKey: 'ok/' }, 200],
    ['refuses a move to another name', { destinationKey: 'bad/' }, 403],
    ['refuses a move to another bucket', { destinationKey: 'ok/', destinationBucket: 'target' }, 403],
  ])('%s', async (_, to, status) => {
    const { name, free } = await stored()
    const destinationKey = to.destinationKey + free
    const response = await withPolicies(server.admin, mayMove, () =>
      ask('POST', '/object/move', { bucketId: 'docs', sourceKey: name, ...to, destinationKey }),
    )
    expect(response.status).toBe(status)
    const rows = await server.admin`select bucket_id, name from storage.objects where name like ${`%${free}`}`
    expect(rows).toEqual(status === 200 ? [{ bucket_id: 'docs', name: destinationKey }] : [])
  })

  it('keeps an object that is not the caller’s from being overwritten', async () => {
    const { name } = await stored()
    const policies = `${allow(['select', 'insert'])}
      create policy "only one's own" on storage.objects for update to authenticated
        using (owner_id = (select auth.jwt() ->> 'sub'));`
    const before = await allRows()
    const response = await withPolicies(server.admin, policies, () =>
      upload(name, { headers: { 'x-upsert': 'true' } }),
    )
    expect(response.status).toBe(403)
    expect(await allRows()).toEqual(before)
  })
})

describe('a restrictive policy', () => {
  it('takes away from what others give, the built-in ones too, but not from the service', async () => {
    await server.createBucket('open', { policy: 'authenticated' })
    const policies = `
      create policy "no executables" on storage.objects as restrictive for insert to authenticated
        with check (storage.extension(name) <> 'exe');
      create policy "no secrets" on storage.objects as restrictive for select to authenticated
        using (not (name like 'secret/%'));`
    await withPolicies(server.admin, policies, async () => {
      expect((await ask('POST', '/object/open/a.txt', 'x')).status).toBe(201)
      expect((await ask('POST', '/object/open/a.exe', 'x')).status).toBe(403)
      expect((await ask('POST', '/object/open/secret/a.txt', 'x')).status).toBe(201)
      expect((await ask('GET', '/object/open/secret/a.txt')).status).toBe(404)
      const list = await ask('POST', '/object/list/open', { prefix: '' })
      expect(((await list.json()) as { name: string }[]).map((entry) => entry.name)).toEqual(['a.txt'])
      expect((await server.request('POST', '/object/open/b.exe', { body: 'x' })).status).toBe(201)
    })
  })
})

describe('a policy that cannot work', () => {
  const broken = (body: string) => `
    create or replace function public.broken() returns boolean language plpgsql stable as $$ begin ${body} end $$;
    create policy "broken" on storage.objects for select to authenticated using (public.broken());`

  it.each([
    [
      'is recursive',
      `create policy "recursive" on storage.objects for select to authenticated
        using (exists (select from storage.objects o where o.owner_id = objects.owner_id));`,
      'DatabaseInvalidObjectDefinition',
    ],
    ['names a missing table', broken('return (select true from public.nowhere);'), 'DatabaseSchemaMismatch'],
    [
      'names a missing column',
      broken('return (select nothing from storage.buckets limit 1);'),
      'DatabaseSchemaMismatch',
    ],
    ['calls a missing function', broken('return public.nothing();'), 'DatabaseSchemaMismatch'],
  ])('because it %s makes requests that meet it fail with 500', async (_, policy, code) => {
    const { name, free } = await stored()
    await withPolicies(server.admin, policy, async () => {
      for (const response of [
        await ask('GET', `/object/docs/${name}`),
        await ask('POST', '/object/list/docs', { prefix: '' }),
        await ask('POST', `/object/sign/docs/${name}`, { expiresIn: 60 }),
        await ask('POST', '/object/copy', { bucketId: 'docs', sourceKey: name, destinationKey: free }),
      ]) {
        const body = (await response.json()) as { code: string; message: string }
        expect([response.status, body.code]).toEqual([500, code])
        expect(body.message).toMatch(/nowhere|nothing|objects/)
      }
      // Whom it does not concern hears nothing of it.
      expect((await server.request('GET', `/object/docs/${name}`)).status).toBe(200)
    })
    expect((await server.request('DELETE', `/object/docs/${name}`)).status).toBe(204)
  })
})

function upload(name: string, init: { headers?: Record<string, string>; body?: string } = {}) {
  return server.request('POST', `/object/docs/${name}`, { token, body: 'new', ...init })
}

function ask(method: string, path: string, body?: string | object): Promise<Response> {
  return server.request(method, path, { token, ...(body && { body }) })
}

/** An object of the service's, and a name that is free. */
async function stored(): Promise<{ name: string; free: string }> {
  const name = randomUUID()
  expect((await server.request('POST', `/object/docs/${name}`, { body: 'x' })).status).toBe(201)
  return { name, free: randomUUID() }
}

function allow(commands: readonly Command[], table = 'objects'): string {
  const clause = { select: 'using', delete: 'using', update: 'using', insert: 'with check' }
  return commands
    .map(
      (command) => `create policy "may ${command}" on storage.${table} for ${command} to authenticated
      ${clause[command]} (true);`,
    )
    .join('\n')
}

function allRows() {
  return server.admin`select * from storage.objects order by id`
}
