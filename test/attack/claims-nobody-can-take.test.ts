import { createHmac, randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { RealtimeClients } from '../http/realtime/clients.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { metadataOf } from '../support/tus-requests.ts'
import { besideInnocent } from './support/innocent.ts'

/** Every route that acts as its caller. */
const JUDGED: [method: string, path: string, body?: string | object, headers?: Record<string, string>][] = [
  ['GET', '/bucket'],
  ['POST', '/bucket', { name: 'new' }],
  ['GET', '/bucket/box'],
  ['PUT', '/bucket/box', { public: true }],
  ['POST', '/bucket/box/empty'],
  ['DELETE', '/bucket/box'],
  ['GET', '/object/box/a.txt'],
  ['HEAD', '/object/box/a.txt'],
  ['GET', '/object/authenticated/box/a.txt'],
  ['GET', '/object/info/box/a.txt'],
  ['GET', '/object/info/authenticated/box/a.txt'],
  ['POST', '/object/box/new.txt', 'bytes'],
  ['PUT', '/object/box/a.txt', 'bytes'],
  ['DELETE', '/object/box/a.txt'],
  ['DELETE', '/object/box', { prefixes: ['a.txt'] }],
  ['POST', '/object/move', { bucketId: 'box', sourceKey: 'a.txt', destinationKey: 'b.txt' }],
  ['POST', '/object/copy', { bucketId: 'box', sourceKey: 'a.txt', destinationKey: 'b.txt' }],
  ['POST', '/object/list/box', { prefix: '' }],
  ['POST', '/object/list-v2/box', {}],
  ['POST', '/object/sign/box', { expiresIn: 60, paths: ['a.txt'] }],
  ['POST', '/object/sign/box/a.txt', { expiresIn: 60 }],
  ['POST', '/object/upload/sign/box/new.txt'],
  [
    'POST',
    '/upload/resumable',
    '',
    {
      'tus-resumable': '1.0.0',
      'upload-length': '5',
      'upload-metadata': metadataOf({ bucketName: 'box', objectName: 'new.txt' }),
    },
  ],
  ['GET', '/webhook'],
  ['GET', '/events'],
]

const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
const CLAIMS: [what: string, json: string][] = [
  ['nested 6000 deep', `"a":${nested(6000)}`],
  ['nested 20 000 deep', `"a":${nested(20_000)}`],
  ['nested 101 deep, as objects', `"a":${'{"a":'.repeat(100)}1${'}'.repeat(100)}`],
  ['with a NUL', '"a":["\\u0000"]'],
  ['with a NUL in a name', '"\\u0000":1'],
  ['with half a character', '"a":"\\ud800"'],
]

const clients = new RealtimeClients(() => server)
let server: TestServer
afterEach(() => clients.close())

/** Whoever may choose some of his own claims can have such a token; so can its issuer's other customers. */
function issue(claims: string): string {
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  const text = `${encode('{"alg":"HS256"}')}.${encode(`{"role":"authenticated","sub":"${randomUUID()}",${claims}}`)}`
  return `${text}.${createHmac('sha256', server.keys.jwtSecret).update(text).digest('base64url')}`
}

describe.each(['default', 'supabase'] as const)('under %s rules, claims that nobody can take', (mode) => {
  beforeAll(async () => {
    server = await startTestServer(mode === 'supabase' ? { STORAGE_COMPAT: mode } : {})
    await server.createBucket('box', { policy: 'authenticated' })
    await server.request('PUT', '/object/box/a.txt', { body: 'a' })
  })
  afterAll(() => server.close())

  it.each(CLAIMS)('%s are refused by each route, and are no fault of ours', async (_what, claims) => {
    const token = issue(claims)
    for (const [method, path, body = null, headers = {}] of JUDGED) {
      const response = await server.request(method, path, { token, body, headers })
      expect([method, path, response.status]).toEqual([
        method,
        path,
        expect.toSatisfy((s) => s >= 400 && s < 500),
      ])
      await response.body?.cancel()
    }
    expect(server.logs.filter(({ level }) => level >= 50)).toEqual([])
  })

  it('take no event from anybody, however their bearer would listen', async () => {
    await besideInnocent(server, async () => {
      for (const [, claims] of CLAIMS) {
        const token = issue(claims)
        const headers = { authorization: `Bearer ${token}` }
        await expect(clients.raw({ apikey: null, headers })).rejects.toThrow(
          mode === 'supabase' ? '400' : '401',
        )
        const client = await clients.raw()
        const joined = await client.join('realtime:storage', { config: {}, access_token: token })
        expect(joined.payload.status).toBe('error')
        // He who listens already is not heard as somebody else by then.
        expect((await client.join('realtime:storage')).payload.status).toBe('ok')
        client.send('realtime:storage', 'access_token', { access_token: token })
        await client.event('phx_close')
      }
    })
    expect(server.logs.filter(({ level }) => level >= 50)).toEqual([])
  })
})
