import { randomBytes } from 'node:crypto'
import {
  type CryptoKey,
  exportJWK,
  exportSPKI,
  type GenerateKeyPairOptions,
  generateKeyPair,
  type JWK,
  type JWTHeaderParameters,
  type JWTPayload,
  SignJWT,
} from 'jose'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { askWho, type Who } from '../../support/who.ts'

const SECRET = 'the login secret of these tests, long enough'

interface Pair {
  privateKey: CryptoKey
  publicKey: CryptoKey
  /** What the key set says of it. */
  jwk: JWK
}

async function pair(alg: string, known: Partial<JWK>, options: GenerateKeyPairOptions = {}): Promise<Pair> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true, ...options })
  return { privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), ...known } }
}

function sign(key: CryptoKey | Uint8Array | string, header: JWTHeaderParameters, claims: JWTPayload = {}) {
  return new SignJWT({ role: 'authenticated', ...claims })
    .setProtectedHeader(header)
    .sign(typeof key === 'string' ? new TextEncoder().encode(key) : key)
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const REFUSED = { status: 401, code: 'InvalidToken', challenge: 'Bearer error="invalid_token"' }

let server: TestServer
let who: Who
let keys: Record<'rsa' | 'ec' | 'ed' | 'ec2' | 'ec3' | 'stranger', Pair>
const shared = { hs256: randomBytes(32), hs512: randomBytes(64) }

beforeAll(async () => {
  keys = {
    rsa: await pair('RS256', { kid: 'rsa', alg: 'RS256' }),
    ec: await pair('ES256', { kid: 'ec' }),
    ed: await pair('EdDSA', { kid: 'ed' }, { crv: 'Ed25519' }),
    ec2: await pair('ES384', { kid: 'ec2' }),
    ec3: await pair('ES384', { kid: 'ec3' }),
    stranger: await pair('ES256', { kid: 'ec' }),
  }
  const { stranger: _, ...known } = keys
  server = await startTestServer({
    STORAGE_JWT_SECRET: SECRET,
    STORAGE_JWKS: JSON.stringify({
      keys: [
        ...Object.values(known).map(({ jwk }) => jwk),
        { kty: 'oct', kid: 'hs256', k: shared.hs256.toString('base64url') },
        { kty: 'oct', kid: 'hs512', alg: 'HS512', k: shared.hs512.toString('base64url') },
      ],
    }),
  })
  who = await askWho(server)
})
afterAll(() => server.close())

it.each<[name: string, token: () => Promise<string>]>([
  ['an RSA key, by its kid', () => sign(keys.rsa.privateKey, { alg: 'RS256', kid: 'rsa' })],
  ['an RSA key, without a kid', () => sign(keys.rsa.privateKey, { alg: 'RS256' })],
  ['an elliptic-curve key, by its kid', () => sign(keys.ec.privateKey, { alg: 'ES256', kid: 'ec' })],
  ['an elliptic-curve key, without a kid', () => sign(keys.ec.privateKey, { alg: 'ES256' })],
  ['the first of two keys of a kind, without a kid', () => sign(keys.ec2.privateKey, { alg: 'ES384' })],
  ['the second of two keys of a kind, without a kid', () => sign(keys.ec3.privateKey, { alg: 'ES384' })],
  ['an Ed25519 key, by its kid', () => sign(keys.ed.privateKey, { alg: 'EdDSA', kid: 'ed' })],
  ['an Ed25519 key, without a kid', () => sign(keys.ed.privateKey, { alg: 'EdDSA' })],
  ['a shared key, by its kid', () => sign(shared.hs256, { alg: 'HS256', kid: 'hs256' })],
  ['a shared key of another alg', () => sign(shared.hs512, { alg: 'HS512', kid: 'hs512' })],
  ['the login secret, without a kid', () => sign(SECRET, { alg: 'HS256' })],
  ['the login secret, with a kid that no shared key has', () => sign(SECRET, { alg: 'HS256', kid: 'old' })],
])('a token holds by %s', async (_, token) => {
  expect(await who(bearer(await token()))).toMatchObject({ status: 200, role: 'authenticated' })
})

it.each<[name: string, token: () => Promise<string>]>([
  ['a key that is not in the set', () => sign(keys.stranger.privateKey, { alg: 'ES256' })],
  [
    'a key that borrows the kid of another',
    () => sign(keys.stranger.privateKey, { alg: 'ES256', kid: 'ec' }),
  ],
  ['a key of the set under an unknown kid', () => sign(keys.ec.privateKey, { alg: 'ES256', kid: 'ec9' })],
  [
    'a key of the set under the kid of another',
    () => sign(keys.ec2.privateKey, { alg: 'ES384', kid: 'ec3' }),
  ],
  ['a shared key without its kid', () => sign(shared.hs256, { alg: 'HS256' })],
  ['a shared key under an alg other than its own', () => sign(shared.hs512, { alg: 'HS256', kid: 'hs512' })],
  [
    'a shared key under an alg other than HS256, if it names none',
    () => sign(shared.hs512, { alg: 'HS512', kid: 'hs256' }),
  ],
  ['the login secret under the kid of a shared key', () => sign(SECRET, { alg: 'HS256', kid: 'hs256' })],
  [
    'the public RSA key as PEM, taken for a secret',
    async () => sign(await exportSPKI(keys.rsa.publicKey), { alg: 'HS256', kid: 'rsa' }),
  ],
  [
    'the public RSA key as PEM, without a kid',
    async () => sign(await exportSPKI(keys.rsa.publicKey), { alg: 'HS256' }),
  ],
  [
    'the public RSA key as JSON, taken for a secret',
    () => sign(JSON.stringify(keys.rsa.jwk), { alg: 'HS256', kid: 'rsa' }),
  ],
  [
    'the modulus of the public RSA key',
    () => sign(Buffer.from(String(keys.rsa.jwk.n), 'base64url'), { alg: 'HS256', kid: 'rsa' }),
  ],
  [
    'the public EC key as JSON, taken for a secret',
    () => sign(JSON.stringify(keys.ec.jwk), { alg: 'HS256', kid: 'ec' }),
  ],
])('a token is refused that is signed with %s', async (_, token) => {
  expect(await who(bearer(await token()))).toEqual(REFUSED)
})

it.each([
  ['RS512', { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-512' }],
  ['PS256', { name: 'RSA-PSS', hash: 'SHA-256' }],
])('a token is refused whose signature by a key of the set is right, but of %s', async (alg, algorithm) => {
  const jwk = { ...(await exportJWK(keys.rsa.privateKey)), alg }
  const key = await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign'])
  expect(await who(bearer(await sign(key, { alg, kid: 'rsa' })))).toEqual(REFUSED)
  expect(await who(bearer(await sign(key, { alg })))).toEqual(REFUSED)
})

it('a token of a public key ends, begins and names its role as any other', async () => {
  const token = (claims: JWTPayload) => sign(keys.ec.privateKey, { alg: 'ES256', kid: 'ec' }, claims)
  const now = Math.floor(Date.now() / 1000)
  expect(await who(bearer(await token({ exp: now - 1 })))).toEqual(REFUSED)
  expect(await who(bearer(await token({ nbf: now + 60 })))).toEqual(REFUSED)
  expect(await who(bearer(await token({ role: 'postgres' })))).toMatchObject({ status: 403 })
  expect(await who(bearer(await token({ role: 'service_role' })))).toMatchObject({ role: 'service_role' })
})
