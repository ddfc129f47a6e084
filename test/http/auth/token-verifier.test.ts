import { createHmac, randomUUID } from 'node:crypto'
import { type JWTPayload, SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { TokenVerifier } from '../../../src/http/auth/token-verifier.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { askWho, type Who } from '../../support/who.ts'

const SECRET = 'the login secret of these tests, long enough'
const EDITOR = `editor_${randomUUID().slice(0, 8)}`
const NOWHERE = `nowhere_${randomUUID().slice(0, 8)}`
const UNGRANTED = `ungranted_${randomUUID().slice(0, 8)}`
const PUBLISHABLE = 'sb_publishable_of-these-tests'
const SECRET_KEY = 'sb_secret_of-these-tests'

let server: TestServer
let who: Who

beforeAll(async () => {
  server = await startTestServer({
    STORAGE_JWT_SECRET: SECRET,
    STORAGE_JWT_ROLES: `${EDITOR}, ${NOWHERE},${UNGRANTED}`,
    STORAGE_PUBLISHABLE_KEYS: PUBLISHABLE,
    STORAGE_SECRET_KEYS: `sb_secret_older,${SECRET_KEY}`,
  })
  await server.admin.unsafe(`create role ${EDITOR}; grant authenticated to ${EDITOR};
    grant ${EDITOR} to strongroom_server; create role ${UNGRANTED}`)
  who = await askWho(server, [EDITOR])
})
afterAll(async () => {
  await server.admin.unsafe(`drop role ${EDITOR}; drop role ${UNGRANTED}`)
  await server.close()
})
afterEach(() => void vi.useRealTimers())

const nowSeconds = () => Math.floor(Date.now() / 1000)
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

function sign(claims: JWTPayload, secret = SECRET, alg = 'HS256'): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg }).sign(new TextEncoder().encode(secret))
}

/** A token of any header, signed with HMAC-SHA256, or with nothing. */
function forge(header: object, claims: object, secret: string | null = SECRET): string {
  const text = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const signature = secret === null ? '' : createHmac('sha256', secret).update(text).digest('base64url')
  return `${text}.${signature}`
}

/** Lists in each other, so many of them. */
function nestedLists(depth: number): unknown {
  return JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`)
}

describe('a token of the login secret', () => {
  it.each(['anon', 'authenticated', 'service_role', EDITOR])(
    'is asked for in PostgreSQL as %s',
    async (role) => {
      expect(await who(bearer(await sign({ role })))).toMatchObject({ status: 200, role })
    },
  )

  it('without a role is of anon', async () => {
    expect((await who(bearer(await sign({ sub: 'user-1' })))).role).toBe('anon')
  })

  it.each(['postgres', 'admin', 'strongroom_server', 'Anon', '', ' anon', 'none', 42, ['anon'], {}, true])(
    'is refused for the role %j, which callers may not have',
    async (role) => {
      const seen = await who(bearer(await sign({ role, sub: 'user-1' })))
      expect(seen).toEqual({ status: 403, code: 'AccessDenied', challenge: null })
    },
  )

  it('is refused for a role that the settings allow and the database does not grant', async () => {
    expect(await who(bearer(await sign({ role: UNGRANTED })))).toMatchObject({
      status: 403,
      code: 'AccessDenied',
    })
  })

  it('is a fault of ours for a role that the settings allow and the database does not know', async () => {
    expect(await who(bearer(await sign({ role: NOWHERE })))).toMatchObject({
      status: 500,
      code: 'DatabaseError',
    })
    expect(JSON.stringify(server.logs)).toContain(`role \\"${NOWHERE}\\" does not exist`)
    expect((await who(bearer(await sign({ role: 'anon' })))).role).toBe('anon')
  })

  it.each(['user-42', 'auth0|5f7c8ec7c33c6c004bbafe82', 'Zoë 图', "x'; drop table storage.objects; --"])(
    'makes its subject the owner, though %j is no UUID',
    async (sub) => {
      const bucket = `owned-${randomUUID()}`
      await server.createBucket(bucket, { policy: 'authenticated' })
      const token = await sign({ role: 'authenticated', sub })
      const response = await server.request('POST', `/object/${bucket}/a.txt`, { token, body: 'a' })

      expect(response.status).toBe(201)
      expect(await response.json()).toMatchObject({ owner_id: sub })
      const [row] =
        await server.admin`select owner, owner_id from storage.objects where bucket_id = ${bucket}`
      expect(row).toEqual({ owner: null, owner_id: sub })
    },
  )

  it.each([
    ['a number', 42, { status: 401, code: 'InvalidToken' }],
    ['an object', { id: 1 }, { status: 401, code: 'InvalidToken' }],
    ['text that PostgreSQL cannot hold', 'a\0b', { status: 401, code: 'InvalidToken' }],
    ['half a character', '\ud800', { status: 401, code: 'InvalidToken' }],
  ])('is refused when its subject is %s', async (_, sub, refusal) => {
    const token = await sign({ role: 'authenticated', sub: sub as string })
    expect(await who(bearer(token))).toMatchObject(refusal)
  })

  it.each<[what: string, claims: Record<string, unknown>]>([
    ['a NUL in some claim', { app_metadata: { teams: ['a', 'b\0'] } }],
    ['a NUL in the name of one', { app_metadata: { 'a\0': 1 } }],
    ['half a character', { name: 'a\ud83d' }],
    ['101 levels of claims', { deep: nestedLists(100) }],
    ['1000 levels of claims', { deep: nestedLists(1000) }],
  ])('is refused for %s', async (_, claims) => {
    const refusal = { status: 401, code: 'InvalidToken', challenge: 'Bearer error="invalid_token"' }
    expect(await who(bearer(await sign({ role: 'authenticated', ...claims })))).toEqual(refusal)
  })

  it('may have 100 levels of claims, and any characters', async () => {
    const claims = { deep: nestedLists(99), name: 'Zoë 图 😀 \\u0000 \\ud800 \u0001' }
    expect((await who(bearer(await sign({ role: 'authenticated', ...claims })))).status).toBe(200)
  })

  it('works until it expires, and not a moment longer, though it is remembered', async () => {
    const headers = bearer(await sign({ role: 'authenticated', exp: nowSeconds() + 2 }))
    expect((await who(headers)).role).toBe('authenticated')
    await until(async () => (await who(headers)).status === 401, 'the token ceases to work')
    expect(await who(headers)).toMatchObject({ code: 'InvalidToken' })
  })

  it('may expire at a fraction of a second', async () => {
    const headers = bearer(await sign({ role: 'anon', exp: nowSeconds() + 60.1234567 }))
    expect([(await who(headers)).role, (await who(headers)).role]).toEqual(['anon', 'anon'])
  })

  it.each([
    ['expired a second ago', () => ({ exp: nowSeconds() - 1 })],
    ['expires at no number', () => ({ exp: '9999999999' as unknown as number })],
    ['begins to be valid in a minute', () => ({ nbf: nowSeconds() + 60 })],
  ])('is refused when it %s', async (_, claims) => {
    const headers = bearer(await sign({ role: 'service_role', ...claims() }))
    expect(await who(headers)).toEqual({
      status: 401,
      code: 'InvalidToken',
      challenge: 'Bearer error="invalid_token"',
    })
  })

  it('is refused until its nbf, and works from then on', async () => {
    const headers = bearer(await sign({ role: 'anon', nbf: nowSeconds() + 60 }))
    expect((await who(headers)).status).toBe(401)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 61_000 })
    expect((await who(headers)).role).toBe('anon')
  })

  it('works for ever when it has no exp', async () => {
    const headers = bearer(await sign({ role: 'anon' }))
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 100 * 365 * 86_400_000 })
    expect((await who(headers)).role).toBe('anon')
  })
})

describe('a token that proves nothing', () => {
  const claims = { role: 'service_role' }
  it.each<[name: string, token: () => string | Promise<string>]>([
    ['is signed with another secret', () => sign(claims, 'another secret that is long enough too')],
    ['is signed with the empty secret', () => forge({ alg: 'HS256' }, claims, '')],
    ['is not signed, alg none', () => forge({ alg: 'none' }, claims, null)],
    ['is not signed, alg None', () => forge({ alg: 'None' }, claims, null)],
    ['is not signed, alg HS256', () => forge({ alg: 'HS256' }, claims, null)],
    ['says alg none over a right signature', () => forge({ alg: 'none' }, claims)],
    ['says no alg', () => forge({ typ: 'JWT' }, claims)],
    ['says a public-key alg over an HMAC', () => forge({ alg: 'RS256' }, claims)],
    ['is of HS512, which was not agreed upon', () => sign(claims, SECRET, 'HS512')],
    ['is of HS384', () => sign(claims, SECRET, 'HS384')],
    ['demands an extension that we do not know', () => forge({ alg: 'HS256', crit: ['x'], x: 1 }, claims)],
    ['brings its own key', () => forge({ alg: 'HS256', jwk: { kty: 'oct', k: 'YQ' } }, claims, 'a')],
    ['is cut off', async () => (await sign(claims)).slice(0, -2)],
    ['has lost its signature', async () => (await sign(claims)).replace(/\.[^.]*$/, '')],
    [
      'has been given another role',
      async () => {
        const [header, , signature] = (await sign({ role: 'anon' })).split('.')
        return `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.${signature}`
      },
    ],
    ['holds no object', () => forge({ alg: 'HS256' }, ['service_role'])],
    ['is garbage', () => 'garbage'],
    ['is dots', () => '..'],
    ['is an unknown opaque key', () => 'sb_secret_unknown'],
    ['is the start of an opaque key', () => SECRET_KEY.slice(0, -1)],
    ['is the secret itself', () => SECRET],
    ['is of another scheme', () => `Basic ${Buffer.from('a:b').toString('base64')}`],
  ])('is refused with 401 and a challenge when it %s', async (_, token) => {
    const refusal = { status: 401, code: 'InvalidToken', challenge: 'Bearer error="invalid_token"' }
    expect(await who(bearer(await token()))).toEqual(refusal)
    expect(await who({ authorization: await token() })).toEqual(refusal)
    expect(await who({ apikey: await token() })).toEqual(refusal)
  })

  it.each([
    ['alg a number', () => forge({ alg: 5 }, claims)],
    ['alg an object', () => forge({ alg: { startsWith: 1 } }, claims)],
    ['alg null', () => forge({ alg: null }, claims)],
    ['kid a number', () => forge({ alg: 'HS256', kid: 5 }, claims, 'x')],
    ['a header that is no JSON', () => 'a.b.c'],
    ['nothing in it', () => '..'],
  ])('with %s is refused in words that are about the token', async (_, token) => {
    const response = await server.request('GET', '/bucket', { token: token() })
    const { message } = (await response.json()) as { message: string }
    expect(response.status).toBe(401)
    expect(message).not.toMatch(/function|undefined|null|startsWith|properties|Invalid Token or/)
    expect(message).toMatch(/^[A-Za-z"][\w" ]+$/)
  })

  it('opens what anybody may read, and nothing else', async () => {
    const [open, closed] = [`open-${randomUUID()}`, `closed-${randomUUID()}`]
    await server.createBucket(open, { policy: 'public' })
    await server.createBucket(closed)
    for (const bucket of [open, closed])
      await server.request('POST', `/object/${bucket}/a.txt`, { body: 'a' })
    const get = (bucket: string) => server.request('GET', `/object/${bucket}/a.txt`, { token: 'garbage' })

    expect([(await get(open)).status, (await get(closed)).status]).toEqual([200, 404])
  })
})

describe('a token has one spelling', () => {
  const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const hmac = (text: string) => createHmac('sha256', SECRET).update(text).digest('base64url')

  /** The same bytes with each of the unused bits of their last character set. */
  function respelled(part: string): string[] {
    const bytes = Buffer.from(part, 'base64url')
    const all = [...ALPHABET].map((last) => part.slice(0, -1) + last)
    return all.filter((text) => text !== part && Buffer.from(text, 'base64url').equals(bytes))
  }

  it('and is refused with another signature of the same bytes', async () => {
    const [header, claims, signature = ''] = (await sign({ role: 'anon', sub: 'a-_?' })).split('.')
    expect((await who(bearer(`${header}.${claims}.${signature}`))).status).toBe(200)
    const others = respelled(signature)
    expect(others).toHaveLength(3)
    for (const other of others) {
      const { status } = await who(bearer(`${header}.${claims}.${other}`))
      expect([other, status]).toEqual([other, 401])
    }
  })

  it.each(['=', '==', '\u00e9', '+', '/', '.'])('and is refused with %j in its signature', async (extra) => {
    const token = await sign({ role: 'anon' })
    for (const at of [token.length - 43, token.length - 20, token.length]) {
      const other = `${token.slice(0, at)}${extra}${token.slice(at)}`
      expect((await who(bearer(other))).status).toBe(401)
    }
  })

  it('and none in the other alphabet of base64', async () => {
    let token = ''
    for (let n = 0; !/[-_][^.]*$/.test(token); n++) token = await sign({ role: 'anon', n })
    const other = token.replace(/[-_](?=[^.]*$)/g, (it) => (it === '-' ? '+' : '/'))
    expect([(await who(bearer(token))).status, (await who(bearer(other))).status]).toEqual([200, 401])
  })

  it('though its issuer signs another one', async () => {
    // One and two bytes more than a multiple of three, so that there are unused bits.
    const header = encode('{"alg":"HS256" }')
    const claims = encode('{"role":"anon" }')
    const headers = [...respelled(header), `${header}==`, `${header}\n`].map((odd) => `${odd}.${claims}`)
    const bodies = [...respelled(claims), `${claims}==`, ` ${claims}`].map((odd) => `${header}.${odd}`)
    expect(headers.length + bodies.length).toBe(2 * (15 + 2))
    // Not through a request, which can hold no line break.
    const verifier = new TokenVerifier({
      secret: SECRET,
      jwks: undefined,
      jwksUrl: undefined,
      extraRoles: [],
      publishableKeys: [],
      secretKeys: [],
    })
    for (const text of [...headers, ...bodies]) {
      await expect(verifier.identify(bearer(`${text}.${hmac(text)}`))).rejects.toMatchObject({
        code: 'InvalidToken',
      })
    }
    expect((await who(bearer(`${header}.${claims}.${hmac(`${header}.${claims}`)}`))).status).toBe(200)
  })
})

describe('the headers', () => {
  let anon: string
  let service: string
  beforeAll(async () => {
    anon = await sign({ role: 'anon' })
    service = await sign({ role: 'service_role' })
  })

  it.each([
    ['Bearer', (token: string) => `Bearer ${token}`],
    ['bearer', (token: string) => `bearer ${token}`],
    ['BEARER, and more spaces', (token: string) => `BEARER   ${token}`],
    ['no scheme', (token: string) => token],
  ])('carry the token in Authorization with %s', async (_, value) => {
    expect((await who({ authorization: value(anon) })).role).toBe('anon')
    expect((await who({ authorization: value(service) })).role).toBe('service_role')
  })

  it('carry it in apikey too, which counts only without Authorization', async () => {
    expect((await who({ apikey: service })).role).toBe('service_role')
    expect((await who({ apikey: service, ...bearer(anon) })).role).toBe('anon')
    expect(await who({ apikey: service, ...bearer('garbage') })).toMatchObject({ status: 401 })
    expect(await who({ apikey: service, authorization: 'Bearer' })).toMatchObject({ status: 401 })
  })

  it.each([
    ['no token', {}],
    ['an empty Authorization', { authorization: '' }],
    ['the word Bearer alone', { authorization: 'Bearer ' }],
    ['an empty apikey', { apikey: '' }],
  ])('with %s ask the client to authenticate', async (_, headers) => {
    expect(await who(headers as Record<string, string>)).toEqual({
      status: 401,
      code: 'AuthenticationRequired',
      challenge: 'Bearer',
    })
  })
})

describe('an opaque key', () => {
  it.each([
    [PUBLISHABLE, 'anon'],
    [SECRET_KEY, 'service_role'],
    ['sb_secret_older', 'service_role'],
  ])('%s stands for the role %s, wherever a token may stand', async (key, role) => {
    expect((await who(bearer(key))).role).toBe(role)
    expect((await who({ apikey: key })).role).toBe(role)
    // What supabase-js sends with a session: the key for the gateway, the user's token for us.
    expect((await who({ apikey: key, ...bearer(await sign({ role: 'authenticated' })) })).role).toBe(
      'authenticated',
    )
  })
})
