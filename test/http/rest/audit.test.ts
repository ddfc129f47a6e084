import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { put } from '../../support/signed.ts'
import { until } from '../../support/wait.ts'

interface Page {
  items: Record<string, unknown>[]
  next: string | null
}

describe.each(['', 'supabase'])('GET /audit with compat %j', (compat) => {
  let server: TestServer
  let ann: string
  let bob: string

  beforeAll(async () => {
    server = await startTestServer({ STORAGE_AUDIT: 'all', STORAGE_COMPAT: compat })
    await server.createBucket('docs', { public: true })
    await server.admin`
      create policy all_of_it on storage.objects for all to authenticated using (true) with check (true)`
    ann = await server.token('ann')
    bob = await server.token('bob')
    const upload = (token: string, name: string) =>
      server.request('POST', `/object/docs/${name}`, { token, body: name })
    await upload(ann, 'a.txt')
    await upload(bob, 'b.txt')
    await server.request('GET', '/object/docs/a.txt', {
      token: bob,
      headers: { 'user-agent': 'of bob' },
    })
    await server.request('POST', '/object/docs/a.txt', { token: 'garbage', body: 'x' })
    const move = { bucketId: 'docs', sourceKey: 'a.txt', destinationKey: 'moved/a b.txt' }
    await server.request('POST', '/object/move', { token: ann, body: move })
    // Another object of the same name.
    await upload(bob, 'a.txt')
    await put(server, 'docs/last.txt', 'x')
    await until(async () => (await list('?action=upload')).items.length >= 4, 'the log is written')
  })
  afterAll(() => server.close())

  async function get(path: string, token?: string) {
    const response = await server.request(
      'GET',
      `/storage/v1/audit${path}`,
      token === undefined ? {} : { token },
    )
    return { status: response.status, body: (await response.json()) as Page & { statusCode?: string } }
  }

  async function list(query: string, token?: string): Promise<Page> {
    const { status, body } = await get(query, token)
    expect(status, JSON.stringify(body)).toBe(200)
    return body
  }

  it('has what was done, the newest first, page after page', async () => {
    const whole = await list('?to=2100-01-01T00:00:00Z&bucket=docs')
    expect(whole.next).toBeNull()
    const paged: Page['items'] = []
    let next: string | null = ''
    while (next !== null) {
      const page: Page = await list(
        `?to=2100-01-01T00:00:00Z&bucket=docs&limit=2${next && `&cursor=${next}`}`,
      )
      expect(page.items.length).toBeLessThanOrEqual(2)
      paged.push(...page.items)
      next = page.next
    }
    expect(paged).toEqual(whole.items)
    expect(whole.items[0]).toMatchObject({
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      action: 'upload',
      path: 'last.txt',
      role: 'service_role',
      address: '127.0.0.1',
      bytes: 1,
    })
  })

  it.each([
    ['?user_id=bob&action=upload', ['a.txt', 'b.txt']],
    ['?role=service_role&action=upload', ['last.txt']],
    ['?bucket=docs&action=download', ['a.txt']],
    ['?action=move', ['a.txt']],
    ['?user_id=nobody', []],
    ['?to=2020-01-01T00:00:00Z', []],
    ['?from=2020-01-01T00:00:00%2B02:00&action=download', ['a.txt']],
  ])('%s has those alone', async (query, paths) => {
    expect((await list(query)).items.map(({ path }) => path)).toEqual(paths)
  })

  it('tells what was refused', async () => {
    const { items } = await list('?allowed=false')
    expect(items).toMatchObject([{ action: 'upload', allowed: false, user_id: null, role: null }])
  })

  it('finds a file by its id, under whichever name', async () => {
    const [move] = (await list('?action=move')).items
    const { items } = await list(`?file_id=${String(move?.file_id).toUpperCase()}`)
    expect(items.map(({ action }) => action)).toEqual(['move', 'download', 'upload'])
  })

  it.each([
    '?limit=0',
    '?limit=1001',
    '?cursor=x',
    '?cursor=1.zzzzzzzz-0000-4000-8000-000000000000',
    '?from=yesterday',
    '?file_id=1',
    '?allowed=maybe',
    '?action=DELETE%20FROM',
    `?user_id=${'x'.repeat(2000)}`,
  ])('refuses %s', async (query) => {
    expect((await get(query)).status).toBe(400)
  })

  it('is the service’s alone', async () => {
    for (const token of [ann, await server.token('x', 'anon'), server.keys.anonKey]) {
      const { status, body } = await get('', token)
      expect(compat === '' ? status : Number(body.statusCode)).toBe(403)
      expect(body).not.toHaveProperty('items')
    }
  })

  it('of an object is for its owner, without where others came from', async () => {
    const { items } = await list('/docs/moved/a%20b.txt', ann)
    expect(items.map(({ action, user_id, path }) => [action, user_id, path])).toEqual([
      ['move', 'ann', 'a.txt'],
      ['download', 'bob', 'a.txt'],
      ['upload', 'ann', 'a.txt'],
    ])
    for (const item of items) {
      for (const hidden of ['address', 'user_agent', 'request_id', 'credential']) {
        expect(item).not.toHaveProperty(hidden)
      }
    }
    const page = await list('/docs/moved/a%20b.txt?limit=1', ann)
    expect((await list(`/docs/moved/a%20b.txt?limit=1&cursor=${page.next}`, ann)).items).toEqual([items[1]])
  })

  it('has nothing of what had the name before, but for the service', async () => {
    const of = (items: Page['items']) => items.map(({ action, user_id }) => `${action} ${user_id}`)
    expect(of((await list('/docs/a.txt', bob)).items)).toEqual(['upload bob'])
    expect(of((await list('/docs/a.txt')).items)).toEqual([
      'upload bob',
      'move ann',
      'download bob',
      'upload ann',
    ])
  })

  it('is for others, and for the owner of what is gone, as of no object at all', async () => {
    await server.request('POST', '/object/docs/gone.txt', { token: ann, body: 'x' })
    await server.request('DELETE', '/object/docs/gone.txt', { token: ann })
    const absent = await get('/docs/absent', ann)
    expect(absent.status).toBe(compat === '' ? 404 : 400)
    for (const [path, token] of [
      ['/docs/gone.txt', ann],
      ['/docs/b.txt', ann],
      ['/docs/b.txt', server.keys.anonKey],
      ['/nowhere/b.txt', ann],
    ] as const) {
      expect(await get(path, token), path).toEqual(absent)
    }
  })
})
