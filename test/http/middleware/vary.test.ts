import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exchange, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { open, put, sign } from '../../support/signed.ts'

let servers: Record<string, TestServer>

beforeAll(async () => {
  servers = {
    'by default': await startTestServer(),
    'under STORAGE_COMPAT=supabase': await startTestServer({ STORAGE_COMPAT: 'supabase' }),
    'for some origins': await startTestServer({ STORAGE_CORS_ORIGINS: 'https://app.example.com' }),
  }
  for (const server of Object.values(servers)) {
    await server.createBucket('closed')
    await server.createBucket('open', { public: true })
    for (const bucket of ['closed', 'open']) {
      await put(server, `${bucket}/a.txt`, 'a')
      await put(server, `${bucket}/large.txt`, 'x'.repeat(3_000_000))
    }
  }
})
afterAll(() => Promise.all(Object.values(servers).map((server) => server.close())))

describe.each([
  ['by default', []],
  ['under STORAGE_COMPAT=supabase', []],
  ['for some origins', ['origin']],
])('%s', (which, always) => {
  /** What `Vary` names in the answer to a request with the service key in `apikey`, or with another header. */
  async function vary(method: string, path: string, header?: string) {
    const server = servers[which] as TestServer
    const request = rawRequest(method, path, [header ?? `apikey: ${server.keys.serviceKey}`])
    const { status, headers } = await exchange(server.url, request, { headOnly: method === 'HEAD' })
    return { status, vary: (headers.vary ?? '').toLowerCase().split(', ').filter(Boolean) }
  }

  it.each([
    ['GET', '/object/closed/a.txt'],
    ['GET', '/object/closed/large.txt'],
    ['HEAD', '/object/closed/a.txt'],
    ['GET', '/object/open/a.txt'],
    ['GET', '/object/authenticated/closed/a.txt'],
    ['GET', '/object/info/closed/a.txt'],
    ['GET', '/object/info/authenticated/closed/a.txt'],
    ['GET', '/bucket'],
  ])('%s %s tells caches that it depends on who asks', async (method, path) => {
    const found = { status: 200, vary: [...always, 'authorization', 'apikey'] }
    expect(await vary(method, path)).toEqual(found)
    const { serviceKey } = (servers[which] as TestServer).keys
    expect(await vary(method, path, `Authorization: Bearer ${serviceKey}`)).toEqual(found)
    // What those are told who may not is no answer for those who may.
    expect((await vary(method, path, 'X-Nothing: x')).vary).toEqual(found.vary)
  })

  it.each(['closed', 'open'])('so does 304, for the bucket %s', async (bucket) => {
    const server = servers[which] as TestServer
    const { headers } = await server.request('HEAD', `/object/${bucket}/a.txt`)
    const answer = await server.request('GET', `/object/${bucket}/a.txt`, {
      headers: { 'if-none-match': String(headers.get('etag')) },
    })
    expect(answer.status).toBe(304)
    expect(answer.headers.get('vary')?.toLowerCase()).toBe([...always, 'authorization', 'apikey'].join(', '))
  })

  it('the page of the server depends on what is asked for', async () => {
    const { vary: named } = await vary('GET', '/', 'Accept: text/html')
    expect(named).toEqual([...always, 'accept'])
  })

  it('what anyone may read by its address alone does not', async () => {
    const server = servers[which] as TestServer
    const { signedURL } = await sign(server, 'closed/a.txt')
    for (const path of [
      '/object/public/open/a.txt',
      '/object/public/open/large.txt',
      '/object/info/public/open/a.txt',
    ])
      expect(await vary('GET', path)).toEqual({ status: 200, vary: always })
    for (const path of [signedURL, signedURL.replace('/sign/', '/')]) {
      const { status, headers } = await open(server, path)
      expect([status, headers.get('vary')?.toLowerCase() ?? '']).toEqual([200, always.join()])
    }
  })
})
