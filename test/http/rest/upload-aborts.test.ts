import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { field, file, form, MULTIPART } from '../../support/multipart.ts'
import { chunk, RawConnection, rawRequest } from '../../support/raw-http.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let auth: string

beforeAll(async () => {
  server = await startTestServer()
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
})

afterEach(() => expectNoDrift(server))

afterAll(() => server.close())

const TARGET = '/object/box/never.bin'

/** The beginnings of uploads: what is sent before the client goes away. */
const SMALL = Buffer.alloc(1000, 'x')
const LARGE = Buffer.alloc(900_000, 'x')
const BEGINNINGS: [what: string, headers: string[], sent: Buffer][] = [
  ['a small raw body', ['Content-Length: 2000'], SMALL],
  ['a large raw body', ['Content-Length: 2000000'], LARGE],
  ['a large raw body, before its first byte', ['Content-Length: 2000000'], Buffer.alloc(0)],
  ['a chunked body', ['Transfer-Encoding: chunked'], chunk(LARGE)],
  ['a chunked body, within a chunk', ['Transfer-Encoding: chunked'], chunk(LARGE).subarray(0, 500_000)],
  ['a chunked body, small so far', ['Transfer-Encoding: chunked'], chunk(SMALL)],
  ['a small form, within the file', [MULTIPART, 'Content-Length: 2000'], form(file(SMALL)).subarray(0, 600)],
  ['a small form, before the file', [MULTIPART, 'Content-Length: 2000'], field('cacheControl', '60')],
  ['a small form, behind the file', [MULTIPART, 'Content-Length: 2000'], file(SMALL)],
  ['a large form, within the file', [MULTIPART, 'Content-Length: 2000000'], file(LARGE).subarray(0, 700_000)],
  ['a large form, behind the file', [MULTIPART, 'Content-Length: 2000000'], file(LARGE)],
  ['a large form, small so far', [MULTIPART, 'Content-Length: 2000000'], file(SMALL)],
  ['a chunked form', [MULTIPART, 'Transfer-Encoding: chunked'], chunk(file(LARGE))],
]

const isLogged = (id: string) => () =>
  server.logs.some((line) => line.requestId === id && line.msg === 'request')

let count = 0

describe.each(BEGINNINGS)('a client that goes away in %s', (_what, headers, sent) => {
  it.each(['a reset', 'a half-closed connection'])('by %s leaves nothing', async (how) => {
    const id = `abort-${++count}`
    await expectNothingWritten(server, async () => {
      const connection = await RawConnection.open(server.url)
      const lines = [auth, `X-Request-Id: ${id}`, ...headers]
      await connection.send(rawRequest('POST', TARGET, lines), sent)
      if (how === 'a reset') connection.abort()
      else {
        connection.halfClose()
        await connection.rest()
      }
      await until(isLogged(id), 'the request is over')
    })
    const line = server.logs.find((one) => one.requestId === id && one.msg === 'request')
    expect(line?.status).not.toBe(201)
    expect(server.logs.filter((one) => one.requestId === id && one.level === 50)).toEqual([])
  })
})

describe.each(BEGINNINGS.filter(([, , sent]) => sent.length > 300_000))(
  'a client that goes away in %s',
  (_what, headers, sent) => {
    it('while its bytes are being written leaves nothing, and the object before stays', async () => {
      await server.request('PUT', TARGET, { body: 'before' })
      await expectNothingWritten(server, async () => {
        const connection = await RawConnection.open(server.url)
        await connection.send(rawRequest('PUT', TARGET, [auth, ...headers]), sent)
        await until(async () => {
          const [row] = await server.admin`select count(*)::int as n from storage.uploads`
          return row?.n === 1 && (await server.storedFiles()).length === 2
        }, 'the upload is being written')
        expect(await (await server.request('GET', TARGET)).text()).toBe('before')
        connection.abort()
      })
      expect(await (await server.request('GET', TARGET)).text()).toBe('before')
      await server.request('DELETE', TARGET)
    })
  },
)

describe('a client that goes away while the database is asked', () => {
  /** Runs `work` while nobody can write rows of objects, and tells it when a request waits for that. */
  async function whileLocked(work: (isWaiting: () => Promise<void>) => Promise<void>): Promise<void> {
    await server.admin.begin(async (tx) => {
      await tx`lock table storage.objects in exclusive mode`
      await work(() =>
        until(async () => {
          const [row] = await server.admin`
            select count(*)::int as n from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'`
          return row?.n === 1
        }, 'a request waits for the lock'),
      )
    })
  }

  // Of a type that is said: the database is asked before the first bytes are here.
  const streamed = BEGINNINGS.filter(([, headers]) => !headers.includes('Content-Length: 2000')).map(
    ([what, headers, sent]) =>
      [what, headers.includes(MULTIPART) ? headers : ['Content-Type: text/plain', ...headers], sent] as const,
  )
  it.each(streamed)('in %s leaves nothing, and the server runs on', async (_what, headers, sent) => {
    await expectNothingWritten(server, () =>
      whileLocked(async (isWaiting) => {
        const id = `locked-${++count}`
        const connection = await RawConnection.open(server.url)
        await connection.send(rawRequest('POST', TARGET, [auth, `X-Request-Id: ${id}`, ...headers]), sent)
        await isWaiting()
        connection.abort()
        // A connection whose bytes have to wait is not read meanwhile, and so not found dead.
        if (sent.length < 2000) await until(isLogged(id), 'the server has seen the client go')
      }),
    )
  })

  it.each([
    ['raw', () => rawRequest('POST', '/object/box/whole-raw', [auth], SMALL)],
    ['a form', () => rawRequest('POST', '/object/box/whole-form', [auth, MULTIPART], form(file(SMALL)))],
  ])('after the last byte of its small body, %s: the object is stored whole', async (_what, request) => {
    const before = await server.storedFiles()
    await whileLocked(async (isWaiting) => {
      const connection = await RawConnection.open(server.url)
      await connection.send(request())
      await isWaiting()
      connection.abort()
    })
    await until(async () => (await server.storedFiles()).length === before.length + 1, 'the object is stored')
  })
})

describe('many uploads to one name at the same moment', () => {
  const bodies = (size: number) =>
    Array.from({ length: 12 }, (_, n) => String.fromCharCode(97 + n).repeat(size))

  it.each([100, 400_000])(
    'without upsert, %i bytes each: exactly one is stored, the others get 409',
    async (size) => {
      const path = `/object/box/race-${size}`
      const responses = await Promise.all(bodies(size).map((body) => server.request('POST', path, { body })))
      const statuses = responses.map((response) => response.status).sort()
      expect(statuses).toEqual([201, ...Array(11).fill(409)])
      const winner = responses.findIndex((response) => response.status === 201)
      expect(await (await server.request('GET', path)).text()).toBe(bodies(size)[winner])
    },
  )

  it.each([100, 400_000])(
    'with upsert, %i bytes each: all succeed, one intact object and one file stay',
    async (size) => {
      const path = `/object/box/upsert-${size}`
      const before = await server.storedFiles()
      const responses = await Promise.all(bodies(size).map((body) => server.request('PUT', path, { body })))
      expect(responses.map((response) => response.status).sort()).toEqual([...Array(11).fill(200), 201])
      const text = await (await server.request('GET', path)).text()
      expect(bodies(size)).toContain(text)
      await until(
        async () => (await server.storedFiles()).length === before.length + 1,
        'the bytes of the overwritten versions are gone',
      )
    },
  )

  it('uploads and deletes together leave whole objects or none', async () => {
    const path = '/object/box/come-and-go'
    const removal = { body: { prefixes: ['come-and-go'] } }
    const responses = await Promise.all(
      bodies(300_000).flatMap((body) => [
        server.request('PUT', path, { body }),
        server.request('DELETE', '/object/box', removal),
      ]),
    )
    for (const { status } of responses) expect([200, 201]).toContain(status)
    const now = await server.request('GET', path)
    if (now.status === 200) expect(bodies(300_000)).toContain(await now.text())
    else expect(now.status).toBe(404)
  })
})
