import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose'
import { afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest'
import { TokenVerifier } from '../../../src/http/auth/token-verifier.ts'
import { StorageError } from '../../../src/model/errors.ts'
import { mintToken } from '../../../src/server/keys.ts'
import { startTestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** Keys of STORAGE_JWKS_URL, on a key server of the test. Most of it needs no server of ours, only its verifier. */

const SECRET = 'the login secret of these tests, long enough'

interface Pair {
  privateKey: CryptoKey
  jwk: JWK & { kid: string }
}

let remote: Server
let url: string
let asked: number
let answer: { status: number; body: string }
let verifier: TokenVerifier
let one: Pair
let two: Pair
/** In STORAGE_JWKS. */
let local: Pair

beforeAll(async () => {
  one = await pair('one')
  two = await pair('two')
  local = await pair('local')
})

beforeEach(async () => {
  asked = 0
  publish(one)
  remote = createServer((_request, response) => {
    asked++
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(answer.body)
  })
  await new Promise<void>((done) => remote.listen(0, '127.0.0.1', done))
  url = `http://127.0.0.1:${(remote.address() as AddressInfo).port}/jwks.json`
  verifier = new TokenVerifier({
    secret: SECRET,
    jwks: { keys: [local.jwk] },
    jwksUrl: url,
    extraRoles: [],
    publishableKeys: [],
    secretKeys: [],
  })
})

afterEach(async () => {
  vi.useRealTimers()
  await stopRemote()
})

async function pair(kid: string): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid } }
}

function publish(...pairs: Pair[]): void {
  answer = { status: 200, body: JSON.stringify({ keys: pairs.map(({ jwk }) => jwk) }) }
}

function stopRemote(): Promise<void> {
  return new Promise((done) => {
    remote.close(() => done())
    remote.closeAllConnections()
  })
}

function tokenOf({ privateKey, jwk }: Pair, claims: JWTPayload = {}): Promise<string> {
  return new SignJWT({ role: 'authenticated', ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: jwk.kid })
    .sign(privateKey)
}

/** The role that a token proves, or the error. */
async function who(token: string): Promise<string | undefined> {
  try {
    return (await verifier.identify({ authorization: `Bearer ${token}` }))?.role
  } catch (error) {
    if (error instanceof StorageError) return error.code
    throw error
  }
}

function later(seconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + seconds * 1000 })
}

it('the keys are fetched when they are first needed, and once for any number of tokens', async () => {
  expect(asked).toBe(0)
  const tokens = await Promise.all(Array.from({ length: 10 }, (_, n) => tokenOf(one, { sub: String(n) })))
  const seen = await Promise.all([...tokens, ...tokens].map(who))
  expect(new Set(seen)).toEqual(new Set(['authenticated']))
  expect(asked).toBe(1)
})

it('no keys are fetched for a token that needs none of them', async () => {
  expect(await who(await mintToken(SECRET, { role: 'anon' }))).toBe('anon')
  expect(await who(await tokenOf(local))).toBe('authenticated')
  for (const token of ['garbage', 'a.b.c', `${await tokenOf(local)}x`])
    expect(await who(token)).toBe('InvalidToken')
  expect(asked).toBe(0)
})

it('a key that is new since a rotation is fetched, and the old one ceases to work', async () => {
  expect(await who(await tokenOf(one))).toBe('authenticated')
  publish(two)
  later(31)
  expect(await who(await tokenOf(two))).toBe('authenticated')
  expect(asked).toBe(2)
  expect(await who(await tokenOf(one, { sub: 'another token' }))).toBe('InvalidToken')
})

it('a key that has been withdrawn ceases to work for tokens that it has verified, too', async () => {
  const token = await tokenOf(one)
  expect(await who(token)).toBe('authenticated')
  publish(two)
  expect(await who(token)).toBe('authenticated')
  later(601)
  // The memory looks at the clock once a millisecond at most.
  await until(async () => (await who(token)) !== 'authenticated', 'the token ceases to work')
  expect(await who(token)).toBe('InvalidToken')
})

it('unknown kids do not make us ask again and again', async () => {
  expect(await who(await tokenOf(one))).toBe('authenticated')
  for (const kid of ['a', 'b', 'c', 'd']) {
    expect(await who(await tokenOf({ ...two, jwk: { ...two.jwk, kid } }))).toBe('InvalidToken')
  }
  expect(asked).toBe(1)
})

it('the set is asked for again after ten minutes, though nothing is missing', async () => {
  expect(await who(await tokenOf(one))).toBe('authenticated')
  later(601)
  expect(await who(await tokenOf(one, { sub: 'another token' }))).toBe('authenticated')
  expect(asked).toBe(2)
})

it.each<[name: string, breakIt: () => unknown]>([
  ['nothing listens there', stopRemote],
  ['it answers 500', () => Object.assign(answer, { status: 500 })],
  ['it answers 404', () => Object.assign(answer, { status: 404 })],
  ['it sends us elsewhere', () => Object.assign(answer, { status: 302 })],
  ['it answers with something else', () => Object.assign(answer, { body: '<html>' })],
  ['it answers with JSON that is no key set', () => Object.assign(answer, { body: '{}' })],
  ['it answers with a megabyte', () => Object.assign(answer, { body: ' '.repeat(1024 ** 2) + answer.body })],
  ['it answers with deep JSON', () => Object.assign(answer, { body: `{"keys":${'['.repeat(500_000)}` })],
])('tokens that need the keys must wait, and others work, while %s', async (_, breakIt) => {
  await breakIt()
  expect(await who(await tokenOf(one))).toBe('AuthenticationUnavailable')
  expect(await who(await tokenOf(local))).toBe('authenticated')
  expect(await who(await mintToken(SECRET, { role: 'service_role' }))).toBe('service_role')
  expect(await who(await mintToken(SECRET, { role: 'service_role' }, -1))).toBe('InvalidToken')
})

it('tokens that need the keys work as soon as these can be had again', async () => {
  const token = await tokenOf(one)
  answer.status = 503
  expect(await who(token)).toBe('AuthenticationUnavailable')
  answer.status = 200
  expect(await who(token)).toBe('authenticated')
})

it('the keys that are known go on to work while the key server is away', async () => {
  const token = await tokenOf(one)
  expect(await who(token)).toBe('authenticated')
  await stopRemote()
  expect(await who(token)).toBe('authenticated')
  expect(await who(await tokenOf(one, { sub: 'another token' }))).toBe('authenticated')
})

it('a client is told with 503 when to come again, on routes that would serve it without a token, too', async () => {
  const server = await startTestServer({ STORAGE_JWKS_URL: url })
  try {
    await server.createBucket('open', { policy: 'public' })
    await server.request('POST', '/object/open/a.txt', { body: 'a' })
    const token = await tokenOf(one)
    const { status } = answer
    answer.status = 500
    for (const [method, path] of [
      ['GET', '/object/open/a.txt'],
      ['GET', '/object/authenticated/open/a.txt'],
      ['GET', '/bucket/open'],
      ['PUT', '/object/open/a.txt'],
    ] as const) {
      const body = method === 'PUT' ? 'b' : null
      const response = await server.request(method, path, { token, body })
      expect([method, path, response.status]).toEqual([method, path, 503])
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(await response.json()).toMatchObject({ statusCode: '503', code: 'SlowDown' })
    }
    expect((await server.request('GET', '/object/open/a.txt')).status).toBe(200)
    answer.status = status
    expect(await (await server.request('GET', '/object/authenticated/open/a.txt', { token })).text()).toBe(
      'a',
    )
  } finally {
    await server.close()
  }
})
