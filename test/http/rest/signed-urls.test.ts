import { createHmac } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { mintToken } from '../../../src/server/keys.ts'
import { signUrlToken } from '../../../src/storage/links/url-token.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, type Signed, sign, tokenOf } from '../../support/signed.ts'

const SIGNED_BY_US = 'the signing secret of these tests, long enough'
const V1 = '/storage/v1'

let server: TestServer

beforeAll(async () => {
  server = await startTestServer({ STORAGE_SIGNING_SECRET: SIGNED_BY_US })
  for (const bucket of ['docs', 'other']) {
    await server.createBucket(bucket)
    for (const name of ['a.txt', 'b.txt', 'deep/a.txt'])
      await put(server, `${bucket}/${name}`, `${bucket} ${name}`)
  }
})
afterAll(() => server.close())
afterEach(() => void vi.useRealTimers())

function download(
  bucket: string,
  name: string,
  secret = SIGNED_BY_US,
  expiresInSeconds = 60,
  now = new Date(),
): string {
  return signUrlToken(
    { scope: 'download', bucket, bucketUid: undefined, name, expiresInSeconds },
    secret,
    now,
  ).token
}

describe.each([
  ['/object/sign/', '/object/sign/'],
  ['/object/', '/object/'],
])('a signed URL under %s', (_, route) => {
  const link = async (path: string) => `${route}${path}?token=${tokenOf(await sign(server, path))}`

  it('serves GET and HEAD to whoever has it, under both prefixes, whatever other token they send', async () => {
    for (const prefix of ['', V1]) {
      const url = `${prefix}${await link('docs/deep/a.txt')}`
      expect(await open(server, url)).toMatchObject({ status: 200, text: 'docs deep/a.txt' })
      const head = await open(server, url, { method: 'HEAD' })
      expect([head.status, head.text, head.headers.get('content-length')]).toEqual([200, '', '15'])
      const headers = { authorization: `Bearer ${await server.token('stranger')}` }
      expect((await open(server, url, { headers })).text).toBe('docs deep/a.txt')
      expect((await open(server, url, { headers: { authorization: 'garbage' } })).status).toBe(200)
    }
  })

  it('says until when it works by Expires, and nothing by Cache-Control', async () => {
    const signed = await sign(server, 'docs/a.txt', 60)
    const url = `${route}docs/a.txt?token=${tokenOf(signed)}`
    for (const method of ['GET', 'HEAD']) {
      const { headers } = await open(server, url, { method })
      expect(headers.get('expires')).toBe(new Date(signed.expires_at).toUTCString())
      expect(headers.get('cache-control')).toBeNull()
    }
    const { headers } = await open(server, url)
    const again = await open(server, url, { headers: { 'if-none-match': String(headers.get('etag')) } })
    expect([again.status, again.headers.get('expires') !== null, again.headers.get('cache-control')]).toEqual(
      [304, true, null],
    )
  })

  it('serves ranges, and the name to save under', async () => {
    const url = await link('docs/a.txt')
    const part = await open(server, url, { headers: { range: 'bytes=5-' } })
    expect([part.status, part.text]).toEqual([206, 'a.txt'])
    const name = 'Übersicht 1.txt'
    const saved = await open(server, `${url}&download=${encodeURIComponent(name)}`)
    const encoded = encodeURIComponent(name)
    expect(saved.headers.get('content-disposition')).toBe(
      `attachment; filename=${encoded}; filename*=UTF-8''${encoded}`,
    )
    expect((await open(server, `${url}&download=`)).headers.get('content-disposition')).toBe('attachment;')
    expect((await open(server, url)).headers.get('content-disposition')).toBeNull()
  })

  it.each([
    // As storage-js sends it: by URLSearchParams, and then by encodeURI.
    ['%25C3%259Cber%2520a%252Bb', 'Über a+b'],
    ['50%2525+off', '50% off'],
    ['%252541', '%41'],
    // As whoever encodes it once.
    ['%C3%9Cber+a%2Bb', 'Über a+b'],
    ['50%25+off', '50% off'],
    ['%C3%A9%2541', 'é%41'],
    ['%25zz', '%zz'],
    ['%25FF', '%FF'], // no UTF-8
    ['plain.txt', 'plain.txt'],
  ])('the name to save under may have been encoded twice: %s', async (sent, name) => {
    const { headers } = await open(server, `${await link('docs/a.txt')}&download=${sent}`)
    expect(headers.get('content-disposition')).toContain(`filename*=UTF-8''${encodeURIComponent(name)}`)
  })

  it('opens a path that was encoded once more than the name, which the token says, and none that was more', async () => {
    for (const name of ['a#b%.txt', 'a%23b%25.txt'])
      await put(server, `docs/${encodeURIComponent(name)}`, name)
    const signed = await sign(server, `docs/${encodeURIComponent('a#b%.txt')}`)
    const path = (name: string) => `${route}docs/${name}?token=${tokenOf(signed)}`
    expect(signed.signedURL).toMatch(/^\/object\/sign\/docs\/a%23b%25\.txt\?token=/)
    const once = encodeURIComponent('a#b%.txt')
    const twice = encodeURIComponent(once)
    for (const name of [once, twice])
      expect(await open(server, path(name))).toMatchObject({ text: 'a#b%.txt' })
    for (const name of [encodeURIComponent(twice), 'a%252fb', '%2525', 'a'])
      expect(await open(server, path(name))).toMatchObject({ status: 403, code: 'InvalidSignature' })
    // The token of the one whose name looks encoded opens that, and not the other.
    const other = await sign(server, `docs/${twice}`)
    expect((await open(server, `${route}docs/${twice}?token=${tokenOf(other)}`)).text).toBe('a%23b%25.txt')
    expect((await open(server, `${route}docs/${once}?token=${tokenOf(other)}`)).status).toBe(403)
  })

  it('answers 410 once it has expired, and not before', async () => {
    const signed = await sign(server, 'docs/a.txt', 60)
    const url = `${route}docs/a.txt?token=${tokenOf(signed)}`
    vi.useFakeTimers({ toFake: ['Date'], now: Date.parse(signed.expires_at) - 1 })
    expect((await open(server, url)).status).toBe(200)
    vi.setSystemTime(Date.parse(signed.expires_at))
    for (const method of ['GET', 'HEAD']) expect((await open(server, url, { method })).status).toBe(410)
    expect((await open(server, url)).code).toBe('ExpiredToken')
  })

  it('answers 404 when its object is gone, and serves what has taken its place', async () => {
    await put(server, 'docs/fleeting.txt', 'one')
    const url = await link('docs/fleeting.txt')
    await put(server, 'docs/fleeting.txt', 'two')
    expect((await open(server, url)).text).toBe('two')
    await server.request('DELETE', '/object/docs/fleeting.txt')
    expect(await open(server, url)).toMatchObject({ status: 404, code: 'NoSuchKey' })
    await put(server, 'docs/fleeting.txt', 'three')
    expect((await open(server, url)).text).toBe('three')
  })

  it.each<[name: string, code: string, token: () => string | Promise<string>]>([
    ['for another path', 'InvalidSignature', () => download('docs', 'b.txt')],
    ['for a longer path', 'InvalidSignature', () => download('docs', 'a.txt/b')],
    ['for another bucket', 'InvalidSignature', () => download('other', 'a.txt')],
    ['for a path and bucket that read the same', 'InvalidSignature', () => download('docs/a.txt', '')],
    [
      'to upload',
      'InvalidSignature',
      () =>
        signUrlToken(
          { scope: 'upload', bucket: 'docs', bucketUid: undefined, name: 'a.txt', expiresInSeconds: 60 },
          SIGNED_BY_US,
          new Date(),
        ).token,
    ],
    [
      'to render',
      'InvalidSignature',
      () =>
        signUrlToken(
          { scope: 'render', bucket: 'docs', bucketUid: undefined, name: 'a.txt', expiresInSeconds: 60 },
          SIGNED_BY_US,
          new Date(),
        ).token,
    ],
    [
      'of another server',
      'InvalidJWT',
      () => download('docs', 'a.txt', 'the signing secret of another server, long enough'),
    ],
    ['signed with the login secret', 'InvalidJWT', () => download('docs', 'a.txt', server.keys.jwtSecret)],
    ['with a changed signature', 'InvalidJWT', () => `${download('docs', 'a.txt').slice(0, -3)}AAA`],
    ['cut off', 'InvalidJWT', () => download('docs', 'a.txt').slice(0, -1)],
    [
      'with the claims of another',
      'InvalidJWT',
      () => {
        const [header, , signature] = download('docs', 'b.txt').split('.')
        return `${header}.${download('docs', 'a.txt').split('.')[1]}.${signature}`
      },
    ],
    [
      'that says alg none',
      'InvalidJWT',
      () => {
        const text = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
        return `${text({ alg: 'none' })}.${download('docs', 'a.txt').split('.')[1]}.`
      },
    ],
    ['that is the service key', 'InvalidJWT', () => server.keys.serviceKey],
    [
      'that is a login signed with the signing secret',
      'InvalidJWT',
      () => mintToken(SIGNED_BY_US, { role: 'service_role' }, 60),
    ],
    ['that is garbage', 'InvalidJWT', () => 'garbage'],
  ])('answers 403 with a token %s', async (_, code, token) => {
    const url = `${route}docs/a.txt?token=${await token()}`
    expect(await open(server, url)).toMatchObject({ status: 403, code })
    expect((await open(server, url, { method: 'HEAD' })).status).toBe(403)
    // Nor is it made good by a right to the object: the token decides, and it does not hold.
    const headers = { authorization: `Bearer ${server.keys.serviceKey}` }
    expect((await open(server, url, { headers })).status).toBe(403)
  })

  it('is not served with a right token beside a wrong one', async () => {
    const wrong = 'garbage'
    const right = tokenOf(await sign(server, 'docs/a.txt'))
    expect((await open(server, `${route}docs/a.txt?token=${wrong}&token=${right}`)).status).toBe(403)
  })

  it('needs a token that is not empty', async () => {
    expect(await open(server, `${route}docs/a.txt?token=`)).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })

  it.each([
    'what?.txt',
    'a?b?token=x.txt',
    'with space.txt',
    'naïve 图 😀.txt',
    '100%.txt',
    'a+b&c=d#e.txt',
    'a//b.txt',
    "(it's).txt",
  ])('works for the name %j', async (name) => {
    const path = `docs/${name.split('/').map(encodeURIComponent).join('/')}`
    await put(server, path, name)
    const signed = await sign(server, path)
    const shown = name.replace(/[%#]/g, encodeURIComponent)
    expect(signed.signedURL.startsWith(`/object/sign/docs/${shown}?token=`)).toBe(true)
    expect((await open(server, signed.url)).text).toBe(name)
    expect((await open(server, `${route}${path}?token=${tokenOf(signed)}`)).text).toBe(name)
    expect((await open(server, `${route}docs/a.txt?token=${tokenOf(signed)}`)).status).toBe(403)
  })

  it('works with the question mark of the name left as it is, as storage-js sends it', async () => {
    await put(server, 'docs/who%3F%20me%3F.txt', 'question')
    const token = tokenOf(await sign(server, 'docs/who%3F%20me%3F.txt'))
    expect((await open(server, `${route}docs/who?%20me?.txt?token=${token}&download=x`)).text).toBe(
      'question',
    )
  })
})

describe('a signed URL', () => {
  it('says what is missing when its token is', async () => {
    expect(await open(server, '/object/sign/docs/a.txt')).toMatchObject({
      status: 400,
      code: 'InvalidRequest',
    })
  })

  it('is no login', async () => {
    const token = tokenOf(await sign(server, 'docs/a.txt'))
    const response = await server.request('GET', '/object/authenticated/docs/a.txt', { token })
    expect(response.status).toBe(401)
  })

  it('is no login even where the same secret signs both: it has no role, and is anonymous at most', async () => {
    const [header, claims] = tokenOf(await sign(server, 'docs/a.txt')).split('.')
    const signature = createHmac('sha256', server.keys.jwtSecret)
      .update(`${header}.${claims}`)
      .digest('base64url')
    const token = `${header}.${claims}.${signature}`
    expect((await server.request('GET', '/object/authenticated/docs/a.txt', { token })).status).toBe(404)
    expect((await server.request('DELETE', '/object/docs/a.txt', { token })).status).toBe(404)
    expect((await open(server, (await sign(server, 'docs/a.txt')).signedURL)).status).toBe(200)
  })

  it('goes on to work when the policies no longer let its signer read', async () => {
    await server.admin`create policy fleeting on storage.objects for select using (name = 'b.txt' and auth.uid() is not null)`
    const token = await server.token('0b5d3a52-31c4-4d8e-9ad1-0d6f4d3a1b11')
    const ask = () => server.request('POST', '/object/sign/docs/b.txt', { token, body: { expiresIn: 60 } })
    const signed = (await (await ask()).json()) as Signed
    await server.admin`drop policy fleeting on storage.objects`
    expect((await ask()).status).toBe(404)
    expect((await open(server, signed.signedURL)).text).toBe('docs b.txt')
  })
})

describe('the signing secret', () => {
  const [OLD, NEW] = [
    'the old signing secret, long enough to be one',
    'the new signing secret, long enough to be one',
  ]

  it('can be rotated: links of both work while the old one is known, and of the new one alone after that', async () => {
    const first = await startTestServer({ STORAGE_SIGNING_SECRET: OLD, STORAGE_SIGNING_SECRET_PREVIOUS: NEW })
    const others = [
      await first.beside({ STORAGE_SIGNING_SECRET: NEW, STORAGE_SIGNING_SECRET_PREVIOUS: OLD }),
      await first.beside({ STORAGE_SIGNING_SECRET: NEW, STORAGE_SIGNING_SECRET_PREVIOUS: '' }),
    ]
    const servers = [first, ...others]
    try {
      await first.createBucket('docs')
      await put(first, 'docs/a.txt', 'a')
      const opened = await Promise.all(
        servers.map(async (signer) => {
          const { signedURL } = await sign(signer, 'docs/a.txt')
          return Promise.all(servers.map(async (each) => (await open(each, signedURL)).status))
        }),
      )
      expect(opened).toEqual([
        [200, 200, 403],
        [200, 200, 200],
        [200, 200, 200],
      ])
    } finally {
      await Promise.all(others.map((each) => each.close()))
      await first.close()
    }
  })
})

describe('under STORAGE_COMPAT=supabase a signed URL', () => {
  let compat: TestServer
  beforeAll(async () => {
    compat = await startTestServer({ STORAGE_COMPAT: 'supabase', STORAGE_SIGNING_SECRET: SIGNED_BY_US })
    await compat.createBucket('docs')
    await put(compat, 'docs/a.txt', 'a')
  })
  afterAll(() => compat.close())

  it('is all that signing answers', async () => {
    expect(Object.keys(await sign(compat, 'docs/a.txt'))).toEqual(['signedURL'])
    const many = await compat.request('POST', '/object/sign/docs', {
      body: { expiresIn: 60, paths: ['a.txt'] },
    })
    expect(Object.keys(((await many.json()) as object[])[0] ?? {}).sort()).toEqual([
      'error',
      'path',
      'signedURL',
    ])
  })

  it.each<[name: string, code: string, query: () => string]>([
    ['no token', 'InvalidRequest', () => ''],
    ['garbage', 'InvalidJWT', () => '?token=garbage'],
    [
      'an expired one',
      'InvalidJWT',
      () => `?token=${download('docs', 'a.txt', SIGNED_BY_US, 1, new Date(0))}`,
    ],
    ['one for another path', 'InvalidSignature', () => `?token=${download('docs', 'b.txt')}`],
  ])('is answered with 400 for %s', async (_, code, query) => {
    expect(await open(compat, `/object/sign/docs/a.txt${query()}`)).toMatchObject({
      status: 400,
      statusCode: '400',
      code,
    })
  })
})
