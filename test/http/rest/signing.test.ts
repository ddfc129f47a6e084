import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, type Signed, sign } from '../../support/signed.ts'

const V1 = '/storage/v1'

let server: TestServer

beforeAll(async () => {
  server = await startTestServer()
  await server.createBucket('docs')
  for (const name of ['a.txt', 'deep/a.txt']) await put(server, `docs/${name}`, `docs ${name}`)
})
afterAll(() => server.close())

describe('signing an object', () => {
  it('answers a relative and an absolute link, and when they end', async () => {
    const before = Math.floor(Date.now() / 1000) * 1000
    const signed = await sign(server, 'docs/a.txt', 60)

    expect(Object.keys(signed).sort()).toEqual(['expires_at', 'id', 'signedURL', 'url'])
    expect(signed.signedURL).toMatch(/^\/object\/sign\/docs\/a\.txt\?token=[\w-]+\.[\w-]+\.[\w-]+$/)
    const end = Date.parse(signed.expires_at)
    expect(signed.url).toBe(`${server.url}${V1}${signed.signedURL}&expires=${end / 1000}`)
    expect(end - before).toBeGreaterThanOrEqual(60_000)
    expect(end - before).toBeLessThanOrEqual(62_000)
    for (const link of [signed.url, `${V1}${signed.signedURL}`, signed.signedURL]) {
      expect(await open(server, link)).toMatchObject({ status: 200, text: 'docs a.txt' })
    }
  })

  it('binds the absolute link to the time that it says, of an upload too', async () => {
    const { signedURL, url, expires_at } = await sign(server, 'docs/a.txt', 60)
    const end = Date.parse(expires_at) / 1000
    for (const other of [end + 1, `0${end}`, `${end}.0`, '', 'never']) {
      const refused = await open(server, url.replace(/expires=.*/, `expires=${other}`))
      expect([other, refused.status, JSON.parse(refused.text).error]).toEqual([
        other,
        403,
        'InvalidSignature',
      ])
    }
    expect((await open(server, signedURL)).status).toBe(200)
    const answer = await server.request('POST', '/object/upload/sign/docs/new.txt', { body: {} })
    const upload = (await answer.json()) as { signed_url: string }
    const send = (link: string) => fetch(link, { method: 'PUT', body: 'x' }).then(({ status }) => status)
    expect(await send(upload.signed_url.replace(/expires=.*/, 'expires=1'))).toBe(403)
    expect(await send(upload.signed_url)).toBe(201)
  })

  it('says nothing of it in compat, and asks nothing', async () => {
    const compat = await startTestServer({ STORAGE_COMPAT: 'supabase' })
    try {
      await compat.createBucket('docs')
      await put(compat, 'docs/a.txt', 'x')
      const signed = await sign(compat, 'docs/a.txt', 60)
      expect(Object.keys(signed)).toEqual(['signedURL'])
      expect((await open(compat, `${signed.signedURL}&expires=1`)).status).toBe(200)
    } finally {
      await compat.close()
    }
  })

  it('takes ?expires_in= for expiresIn, without a body or with another', async () => {
    const ask = (body: object | null, query: string, path = 'docs/a.txt') =>
      server.request('POST', `/object/sign/${path}?${query}`, { body })
    for (const body of [null, {}]) {
      const signed = (await (await ask(body, 'expires_in=3600')).json()) as Signed
      expect(Date.parse(signed.expires_at) - Date.now()).toBeGreaterThan(3_500_000)
      expect((await open(server, signed.signedURL)).status).toBe(200)
    }
    const [many] = (await (await ask({ paths: ['a.txt'] }, 'expires_in=60', 'docs')).json()) as Signed[]
    expect((await open(server, String(many?.signedURL))).text).toBe('docs a.txt')
    for (const value of ['', '0', '-1', '1.5', '1e3', 'soon', '99999999999']) {
      expect([value, (await ask(null, `expires_in=${value}`)).status]).toEqual([value, 400])
    }
  })

  it.each([
    [{}],
    [{ expiresIn: 0 }],
    [{ expiresIn: -5 }],
    [{ expiresIn: 1.5 }],
    [{ expiresIn: '60s' }],
    [{ expiresIn: null }],
    [{ expiresIn: 1e15 }],
  ])('is refused for the time %j', async (body) => {
    const one = await server.request('POST', '/object/sign/docs/a.txt', { body })
    const many = await server.request('POST', '/object/sign/docs', { body: { ...body, paths: ['a.txt'] } })
    expect([one.status, many.status]).toEqual([400, 400])
  })

  it('is refused without a token, and finds nothing that the caller may not see', async () => {
    const ask = (token: string | null, path: string) =>
      server.request('POST', `/object/sign/${path}`, { token, body: { expiresIn: 60 } })
    const stranger = await server.token('stranger')
    expect((await ask(null, 'docs/a.txt')).status).toBe(401)
    expect((await ask(stranger, 'docs/a.txt')).status).toBe(404)
    expect((await ask(server.keys.anonKey, 'docs/a.txt')).status).toBe(404)
    expect((await ask(server.keys.serviceKey, 'docs/absent.txt')).status).toBe(404)
    expect((await ask(server.keys.serviceKey, 'absent/a.txt')).status).toBe(404)
  })

  it('many at once answers in the order asked, with null for what is not there or not to be seen', async () => {
    const ask = async (token: string, paths: string[]) => {
      const body = { expiresIn: 60, paths }
      return (await (await server.request('POST', '/object/sign/docs', { token, body })).json()) as Signed[]
    }
    const paths = ['deep/a.txt', 'absent', 'a.txt', 'a.txt', '../a.txt', 'x\0y', '']
    const signed = await ask(server.keys.serviceKey, paths)

    expect(signed).toHaveLength(paths.length)
    expect(signed.map((one) => one.signedURL !== null)).toEqual([
      true,
      false,
      true,
      true,
      false,
      false,
      false,
    ])
    for (const [index, path] of paths.entries()) expect(signed[index]).toMatchObject({ path })
    expect(signed[1]).toEqual({ path: 'absent', signedURL: null, error: expect.stringMatching(/./) })
    expect(signed[0]).toMatchObject({
      error: null,
      url: expect.stringContaining(`${server.url}${signed[0]?.signedURL}&expires=`),
    })
    expect((await open(server, String(signed[0]?.signedURL))).text).toBe('docs deep/a.txt')
    for (const one of await ask(await server.token('stranger'), paths)) expect(one.signedURL).toBeNull()
  })
})

describe('the absolute link', () => {
  const NAME = 'a b/ü?.txt'
  const PATH = 'docs/a%20b/%C3%BC%3F.txt'
  const FORWARDED = {
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'files.example.com',
    'x-forwarded-prefix': '/files/storage/v1/',
  }

  /** The links that a server of these settings answers, without their tokens. */
  async function links(env: Record<string, string>, headers: Record<string, string> = {}, prefix = V1) {
    const server = await startTestServer(env)
    try {
      await server.createBucket('docs')
      await put(server, PATH, 'x')
      const ask = async (what: string, body: object) => {
        const response = await server.request('POST', `${prefix}/object/${what}`, { headers, body })
        expect(response.status).toBe(200)
        return response.json() as Promise<Record<string, string>>
      }
      const one = await ask(`sign/${PATH}`, { expiresIn: 60 })
      const [many] = (await ask('sign/docs', { expiresIn: 60, paths: [NAME] })) as unknown as Record<
        string,
        string
      >[]
      const upload = await ask('upload/sign/docs/new.txt', {})
      const bare = (text: string | undefined) =>
        text?.replace(server.url, 'http://SERVER').replace(/\?token=.*/, '')
      expect(bare(many?.url)).toBe(bare(one.url))
      // What storage-js puts behind its own base knows nothing of where we are.
      expect(bare(one.signedURL)).toBe(`/object/sign/docs/${NAME}`)
      expect(bare(upload.url)).toBe('/object/upload/sign/docs/new.txt')
      return { download: bare(one.url), upload: bare(upload.signed_url) }
    } finally {
      await server.close()
    }
  }

  const under = (base: string) => ({
    download: `${base}/object/sign/${PATH}`,
    upload: `${base}/object/upload/sign/docs/new.txt`,
  })

  it('leads to where the request came to, with the prefix it came by', async () => {
    expect(await links({})).toEqual(under('http://SERVER/storage/v1'))
    expect(await links({}, {}, '')).toEqual(under('http://SERVER'))
  })

  it('is under STORAGE_PUBLIC_URL, whatever the request says', async () => {
    const env = { STORAGE_PUBLIC_URL: 'https://cdn.example.com/base/', STORAGE_TRUST_PROXY: 'true' }
    expect(await links(env, FORWARDED, '')).toEqual(under('https://cdn.example.com/base/storage/v1'))
  })

  it('does not believe X-Forwarded headers of just anybody', async () => {
    expect(await links({}, FORWARDED)).toEqual(under('http://SERVER/storage/v1'))
  })

  it.each([
    [FORWARDED, 'https://files.example.com/files/storage/v1'],
    [{ 'x-forwarded-proto': 'https', 'x-forwarded-host': 'a.example' }, 'https://a.example/storage/v1'],
    [{ 'x-forwarded-host': 'a.example, inner.example' }, 'http://a.example/storage/v1'],
    [
      { 'x-forwarded-host': 'a.example', 'x-forwarded-port': '8443', 'x-forwarded-proto': 'https' },
      'https://a.example:8443/storage/v1',
    ],
    [
      { 'x-forwarded-host': 'a.example', 'x-forwarded-port': '443', 'x-forwarded-proto': 'https' },
      'https://a.example/storage/v1',
    ],
    [{ 'x-forwarded-host': 'a.example:8080', 'x-forwarded-port': '80' }, 'http://a.example:8080/storage/v1'],
    [{ 'x-forwarded-host': 'a.example', 'x-forwarded-proto': 'javascript' }, 'http://a.example/storage/v1'],
    [{ 'x-forwarded-host': '[2001:db8::1]', 'x-forwarded-port': '81' }, 'http://[2001:db8::1]:81/storage/v1'],
    [{ 'x-forwarded-host': 'a.example', 'x-forwarded-port': '8/x@b' }, 'http://a.example/storage/v1'],
    [{ 'x-forwarded-prefix': '/' }, 'http://SERVER'],
    [{ 'x-forwarded-prefix': `/${'a'.repeat(197)}//` }, `http://SERVER/${'a'.repeat(197)}`],
  ])('follows %j of a proxy that STORAGE_TRUST_PROXY trusts', async (headers, base) => {
    expect(await links({ STORAGE_TRUST_PROXY: 'true' }, headers)).toEqual(under(base))
  })

  it.each([
    'user@evil.example',
    'evil.example/path',
    'evil.example?',
    'evil.example#',
    'evil.example\\x',
    'a b',
    'evil.example:99999',
    'evil.example:0',
    'evil.example:x',
    '[evil]',
    '"><script>',
    'a'.repeat(300),
  ])('does not follow the host %j, which is none', async (host) => {
    const headers = { 'x-forwarded-host': host }
    expect(await links({ STORAGE_TRUST_PROXY: 'true' }, headers)).toEqual(under('http://SERVER/storage/v1'))
  })

  it.each(['files', '/a?b', '//evil@host:80', `/${'a'.repeat(200)}`])(
    'does not follow the prefix %j, which is no path',
    async (prefix) => {
      const headers = { 'x-forwarded-prefix': prefix }
      expect(await links({ STORAGE_TRUST_PROXY: 'true' }, headers)).toEqual(under('http://SERVER/storage/v1'))
    },
  )

  it('does not follow a prefix of very many slashes', async () => {
    const headers = { 'x-forwarded-prefix': `${'/'.repeat(60_000)}x` }
    expect(await links({ STORAGE_TRUST_PROXY: 'true' }, headers)).toEqual(under('http://SERVER/storage/v1'))
  })
})
