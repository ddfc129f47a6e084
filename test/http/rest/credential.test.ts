import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer({
    STORAGE_JWT_ROLES: 'credentials_editor,credentials_boss,credentials_nobody,credentials_stranger',
  })
  await server.admin`create role credentials_editor nologin`
  await server.admin`grant credentials_editor to strongroom_server`
  await server.admin`create role credentials_boss nologin superuser`
  await server.admin`create role credentials_stranger nologin`
})
afterEach(() => server.admin`delete from storage.credentials`)
afterAll(async () => {
  for (const role of ['credentials_editor', 'credentials_boss', 'credentials_stranger'])
    await server.admin`drop role ${server.admin(role)}`
  await server.close()
})

const ask = async (method: string, path = '', body?: object, token?: string | null) => {
  const init = { ...(body && { body }), ...(token !== undefined && { token }) }
  const response = await server.request(method, `/storage/v1/credential${path}`, init)
  const text = await response.text()
  return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as Record<string, unknown> }
}

const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString()

describe('an access key', () => {
  it('is made, listed, read and revoked', async () => {
    const expires_at = inAnHour()
    const given = {
      role: 'authenticated',
      subject: 'user-1',
      claims: { tenant: 'a', app_metadata: { plan: 'pro' } },
      description: 'nightly backup',
      expires_at,
    }
    const made = await ask('POST', '', given)
    expect(made).toMatchObject({
      status: 201,
      body: { ...given, last_used_at: null, sealed_under: 'current' },
    })
    expect(made.body.access_key_id).toMatch(/^SR[A-Z2-7]{18}$/)
    expect(made.body.secret_access_key).toMatch(/^[\da-f]{64}$/)

    const { secret_access_key, ...shown } = made.body
    expect(await ask('GET')).toEqual({ status: 200, body: { items: [shown], next: null } })
    const path = `/${made.body.access_key_id}`
    expect(await ask('GET', path)).toEqual({ status: 200, body: shown })
    expect(await ask('DELETE', path)).toEqual({ status: 204, body: null })
    expect(await ask('DELETE', path)).toMatchObject({ status: 404, body: { code: 'NoSuchCredential' } })
    expect(await ask('GET', path)).toMatchObject({ status: 404, body: { code: 'NoSuchCredential' } })
    expect((await ask('GET')).body).toEqual({ items: [], next: null })
  })

  it('needs no more than a role, of those that a token may name', async () => {
    for (const role of ['anon', 'authenticated', 'service_role', 'credentials_editor']) {
      expect(await ask('POST', '', { role })).toMatchObject({
        status: 201,
        body: { role, subject: null, claims: {}, description: '', expires_at: null },
      })
    }
  })

  it('tells its secret once: no list has it, no log, and the database only sealed', async () => {
    const { body } = await ask('POST', '', { role: 'anon' })
    const secret = String(body.secret_access_key)
    const rows = await server.admin`select * from storage.credentials`
    const texts = JSON.stringify([
      rows,
      await ask('GET'),
      await ask('GET', `/${body.access_key_id}`),
      server.logs,
    ])
    expect(texts).toContain(body.access_key_id)
    expect(texts).not.toContain(secret)
    expect(texts).not.toContain(Buffer.from(secret, 'hex').toString('base64').slice(0, 20))
  })

  it('is listed in pages', async () => {
    const ids: unknown[] = []
    for (let i = 0; i < 5; i++) ids.push((await ask('POST', '', { role: 'anon' })).body.access_key_id)
    const seen: unknown[] = []
    for (let after: unknown = ''; after !== null; ) {
      const { body } = await ask('GET', `?limit=2${after === '' ? '' : `&after=${after}`}`)
      const items = body.items as { access_key_id: string }[]
      expect(items.length).toBeLessThanOrEqual(2)
      seen.push(...items.map((item) => item.access_key_id))
      after = body.next
    }
    expect(seen).toEqual(ids.sort())
  })

  it.each<[what: string, body: object, message: RegExp]>([
    ['no role', {}, /^body\/role must be one of anon, authenticated, service_role, credentials_editor/],
    ['a role that no token may name', { role: 'postgres' }, /^body\/role must be one of/],
    [
      'a superuser',
      { role: 'credentials_boss' },
      /^The role credentials_boss is a superuser, whom no policy binds$/,
    ],
    [
      'a role that is not there',
      { role: 'credentials_nobody' },
      /^The role credentials_nobody does not exist in the database$/,
    ],
    [
      'a role that the server cannot become',
      { role: 'credentials_stranger' },
      /^The role credentials_stranger is none that the server's login may become$/,
    ],
    ['an empty subject', { role: 'anon', subject: '' }, /^body\/subject must not be empty$/],
    ['a long subject', { role: 'anon', subject: 'x'.repeat(1001) }, /^body\/subject must have at most 1000/],
    ['a subject with NUL', { role: 'anon', subject: 'a\0' }, /^body\/subject must not hold NUL/],
    [
      'a subject with U+001F',
      { role: 'anon', subject: 'a\x1fb' },
      /^body\/subject must not hold NUL, U\+001F/,
    ],
    ['claims that are a list', { role: 'anon', claims: [1] }, /^body\/claims must be an object$/],
    [
      'claims that name a role',
      { role: 'anon', claims: { role: 'service_role' } },
      /^body\/claims must not hold role/,
    ],
    [
      'claims that name a user',
      { role: 'anon', claims: { sub: 'x' } },
      /^body\/claims must not hold role, sub/,
    ],
    [
      'claims that would end',
      { role: 'anon', claims: { exp: 1 } },
      /^body\/claims must not hold role, sub, exp/,
    ],
    [
      'large claims',
      { role: 'anon', claims: { a: 'ü'.repeat(4100) } },
      /^body\/claims must have at most 8192 bytes/,
    ],
    ['claims with NUL', { role: 'anon', claims: { a: { b: ['\0'] } } }, /^body\/claims must not hold NUL/],
    [
      'a long description',
      { role: 'anon', description: 'x'.repeat(501) },
      /^body\/description must have at most/,
    ],
    ['a time that is none', { role: 'anon', expires_at: 'soon' }, /^body\/expires_at must be a time such as/],
    [
      'a time without a zone',
      { role: 'anon', expires_at: '2999-01-01T00:00:00' },
      /^body\/expires_at must be a time/,
    ],
    [
      'a time that is over',
      { role: 'anon', expires_at: '2020-01-01T00:00:00Z' },
      /^body\/expires_at must be in the future$/,
    ],
    [
      'a field that nobody knows',
      { role: 'anon', expiresAt: 1 },
      /^body must not have the field expiresAt: did you mean expires_at\?$/,
    ],
  ])('is refused with %s', async (_, body, message) => {
    const { status, body: refusal } = await ask('POST', '', body)
    expect([status, refusal.message]).toEqual([400, expect.stringMatching(message)])
    expect((await ask('GET')).body.items).toEqual([])
  })

  it.each(['limit=0', 'limit=1001', 'limit=x', 'after=%27', 'after='])(
    'refuses the page %s',
    async (query) => {
      expect((await ask('GET', `?${query}`)).status).toBe(400)
    },
  )

  it.each(['nothing', "a'b", '..%2f', 'x'.repeat(200)])('is not there, or no route: %s', async (id) => {
    expect((await ask('GET', `/${id}`)).status).toBe(404)
    expect((await ask('DELETE', `/${id}`)).status).toBe(404)
  })
})

describe.each(['anon', 'authenticated', 'credentials_editor'])('whoever is only %s', (role) => {
  it('makes, lists, reads and revokes none', async () => {
    const { body } = await ask('POST', '', { role: 'service_role' })
    const path = `/${body.access_key_id}`
    const token = await server.token('user-1', role)
    for (const [method, at, sent] of [
      ['POST', '', { role }],
      ['GET', '', undefined],
      ['GET', path, undefined],
      ['DELETE', path, undefined],
    ] as const) {
      expect(await ask(method, at, sent, token)).toMatchObject({
        status: 403,
        body: { code: 'AccessDenied' },
      })
      expect((await ask(method, at, sent, null)).status).toBe(401)
    }
    expect(await server.admin`select access_key_id from storage.credentials`).toHaveLength(1)
  })
})
