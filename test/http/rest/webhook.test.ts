import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { makeHook } from '../../support/webhooks.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

const url = 'https://example.com/hook'
const ask = async (method: string, path = '', body?: object, token?: string | null) => {
  const init = { ...(body && { body }), ...(token !== undefined && { token }) }
  const response = await server.request(method, `/storage/v1/webhook${path}`, init)
  const text = await response.text()
  return { status: response.status, body: (text === '' ? null : JSON.parse(text)) as Record<string, unknown> }
}
const standardSecret = (bytes: number) => `whsec_${Buffer.alloc(bytes, 'k').toString('base64')}`

describe('a webhook', () => {
  it('is made, listed, read, changed and deleted', async () => {
    const made = await ask('POST', '', { url })
    expect(made).toMatchObject({
      status: 201,
      body: { url, events: [], bucket: null, format: 'standard', allow_private: false, source: 'api' },
    })
    expect(made.body.secret).toMatch(/^whsec_[A-Za-z\d+/]{43}=$/)
    const { secret, ...shown } = made.body
    expect(shown).toMatchObject({ pending: 0, dead: 0, last_status: null, last_error: null })
    expect((await ask('GET')).body).toEqual([shown])
    const path = `/${made.body.id}`
    expect(await ask('GET', path)).toEqual({ status: 200, body: shown })

    const changes = { events: ['storage.object.created'], bucket: 'avatars' }
    expect(await ask('PATCH', path, changes)).toMatchObject({ status: 200, body: { url, ...changes } })
    expect((await ask('PATCH', path, { bucket: null })).body).toMatchObject({ ...changes, bucket: null })
    expect((await ask('GET', path)).body).toMatchObject({ ...changes, bucket: null })
    expect(await ask('DELETE', path)).toEqual({ status: 204, body: null })
    expect(await ask('GET', path)).toMatchObject({ status: 404, body: { code: 'NoSuchWebhook' } })
    expect((await ask('GET')).body).toEqual([])
    const [left] =
      await server.admin`select count(*)::int from storage.event_sinks where name like 'webhook:%'`
    expect(left?.count).toBe(0)
  })

  it('tells its secret only to who sets it', async () => {
    const secret = standardSecret(24)
    const made = await ask('POST', '', { url, secret })
    expect(made.body.secret).toBe(secret)
    const path = `/${made.body.id}`
    const next = standardSecret(64)
    expect((await ask('PATCH', path, { secret: next })).body.secret).toBe(next)
    expect((await ask('PATCH', path, { bucket: 'a' })).body).not.toHaveProperty('secret')
    const lists = JSON.stringify([await ask('GET'), await ask('GET', path)])
    expect(lists).not.toContain('whsec_')
    expect(JSON.stringify(server.logs)).not.toContain('whsec_')
    await ask('DELETE', path)
  })

  it('of Supabase’s format may have any secret, which another format may refuse', async () => {
    const made = await ask('POST', '', { url, format: 'supabase', secret: 'hunter2' })
    expect(made).toMatchObject({ status: 201, body: { secret: 'hunter2' } })
    const path = `/${made.body.id}`
    const refused = await ask('PATCH', path, { format: 'standard' })
    expect(refused.status).toBe(400)
    expect(refused.body.message).toMatch(/^body\/secret must be whsec_ and the base64/)
    const secret = standardSecret(32)
    expect((await ask('PATCH', path, { format: 'standard', secret })).status).toBe(200)
    await ask('DELETE', path)
  })

  it.each<[what: string, body: object, message: RegExp]>([
    ['no url', {}, /^body\/url must be a string$/],
    ['no URL', { url: 'example.com' }, /^body\/url must be an http or https URL$/],
    ['another scheme', { url: 'file:///etc/passwd' }, /^body\/url must be an http or https URL$/],
    ['a login', { url: 'https://a:hunter2@example.com' }, /^body\/url must not hold a user or a password$/],
    ['a user', { url: 'https://hunter2@example.com' }, /^body\/url must not hold a user or a password$/],
    [
      'a very long url',
      { url: `${url}?${'a'.repeat(2048)}` },
      /^body\/url must have at most 2048 characters$/,
    ],
    ['an unknown event', { url, events: ['storage.object.hunter2'] }, /^body\/events\/0 must be one of /],
    ['no events', { url, events: 5 }, /^body\/events must be an array of event types$/],
    ['an empty bucket', { url, bucket: '' }, /^body\/bucket must not be empty$/],
    ['an unknown format', { url, format: 'hunter2' }, /^body\/format must be one of standard, supabase$/],
    ['no flag', { url, allow_private: 'yes' }, /^body\/allow_private must be true or false$/],
    ['a plain secret', { url, secret: 'hunter2' }, /^body\/secret must be whsec_ and the base64 of 24 to 64/],
    ['a short secret', { url, secret: standardSecret(23) }, /^body\/secret must be whsec_/],
    ['a long secret', { url, secret: standardSecret(65) }, /^body\/secret must be whsec_/],
    [
      'a secret that is no base64',
      { url, secret: `whsec_${'a'.repeat(33)}` },
      /^body\/secret must be whsec_/,
    ],
    [
      'a secret with a newline',
      { url, secret: 'hunter2\n', format: 'supabase' },
      /^body\/secret must be print/,
    ],
    ['a number', { url, secret: 5 }, /^body\/secret must be a string$/],
  ])('is refused with %s, and nothing of it is repeated', async (_what, body, message) => {
    const response = await ask('POST', '', body)
    expect(response).toMatchObject({ status: 400, body: { code: 'InvalidRequest' } })
    expect(response.body.message).toMatch(message)
    expect(response.body.message).not.toContain('hunter2')
    expect((await ask('GET')).body).toEqual([])
  })

  it('is not changed by nothing, nor by what is wrong', async () => {
    const { id } = await makeHook(server, url)
    expect((await ask('PATCH', `/${id}`, {})).status).toBe(400)
    expect((await ask('PATCH', `/${id}`, { secret: null })).status).toBe(400)
    expect((await ask('PATCH', `/${id}`, { url: 'nowhere' })).status).toBe(400)
    expect((await ask('GET', `/${id}`)).body.url).toBe(url)
    await ask('DELETE', `/${id}`)
  })
})

const ROUTES: [method: string, path: string, body?: object][] = [
  ['GET', ''],
  ['POST', '', { url }],
  ['GET', '/:id'],
  ['PATCH', '/:id', { url }],
  ['DELETE', '/:id'],
  ['GET', '/:id/dead-letter'],
  ['POST', '/:id/dead-letter/replay', {}],
  ['DELETE', '/:id/dead-letter/5'],
]

it.each(ROUTES)('%s /webhook%s is for the service alone', async (method, path, body) => {
  const { id } = await makeHook(server, url)
  const target = path.replace(':id', id)
  const refusals = [
    [null, 401, 'AuthenticationRequired'],
    [server.keys.anonKey, 403, 'AccessDenied'],
    [await server.token('alice'), 403, 'AccessDenied'],
  ] as const
  for (const [token, status, code] of refusals) {
    expect(await ask(method, target, body, token)).toMatchObject({ status, body: { code } })
  }
  await ask('DELETE', `/${id}`)
})

it.each(ROUTES.filter(([, path]) => path !== ''))(
  '%s /webhook%s answers 404 for a webhook that is not there, or has no such id',
  async (method, path, body) => {
    for (const id of [randomUUID(), 'nobody', "'", '%00']) {
      const response = await ask(method, path.replace(':id', id), body)
      expect(response).toMatchObject({ status: 404, body: { code: 'NoSuchWebhook' } })
    }
  },
)
