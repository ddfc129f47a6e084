import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { HeldClock } from '../support/held-clock.ts'
import { RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'
import { until, within } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'

const PLACES = 12
/** More than the kernel takes for a client that does not read. */
const LARGE = Buffer.alloc(24_000_000, 'x')

/** In which even all of LARGE, should the kernel take it, is slow. */
const HOUR_MS = 3_600_000

let clock: HeldClock
let server: TestServer
let open: RawConnection[] = []

beforeAll(async () => {
  clock = new HeldClock()
  server = await startTestServer({
    STORAGE_MAX_REQUESTS: String(PLACES),
    // Nobody is ended but by giving way.
    STORAGE_IDLE_TIMEOUT: '1h',
    STORAGE_REQUEST_TIMEOUT: '1h',
  })
  await server.createBucket('box', { public: true })
  expect((await server.request('PUT', '/object/box/large', { body: LARGE })).ok).toBe(true)
})

afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await expectNoDrift(server)
})

afterAll(async () => {
  await server.close()
  clock.restore()
})

const JSON_BODY = ['Content-Type: application/json', 'Content-Length: 200']
const BEGINNINGS: [what: string, method: string, target: string, headers: string[], sent: string][] = [
  ['the body of a list', 'POST', '/object/list/box', JSON_BODY, ''],
  ['the names of a bulk delete', 'DELETE', '/object/box', JSON_BODY, '{"prefixes":['],
  [
    'the fields of a form',
    'POST',
    '/object/box/mine',
    ['Content-Type: multipart/form-data; boundary=b', 'Content-Length: 200'],
    '--b\r\n',
  ],
  ['an answer that is not read', 'GET', '/object/public/box/large', [], ''],
]

describe('who has the public key and only dribbles does not hold the places of all requests:', () => {
  const get = () => server.request('GET', '/object/info/public/box/large')

  it.each(BEGINNINGS)('%s', async (_what, method, target, headers, sent) => {
    const auth = `Authorization: Bearer ${server.keys.anonKey}`
    const begin = async () => {
      const connection = await RawConnection.open(server.url)
      open.push(connection)
      await connection.send(rawRequest(method, target, [auth, ...headers]), Buffer.from(sent))
      return connection
    }
    const beginMany = (count: number) => Promise.all(Array.from({ length: count }, begin))

    clock.hold()
    // One is refused, and the others have all places. Only an answer that is to be left unread begins for all.
    const heard = (await beginMany(PLACES + 1)).map((connection) => connection.firstBytes())
    await within<unknown>(method === 'GET' ? Promise.all(heard) : Promise.race(heard), 'one is refused')
    expect((await get()).status).toBe(503)
    await until(async () => {
      clock.pass(HOUR_MS)
      return (await get()).status === 200
    }, 'one gives way')
    clock.pass(HOUR_MS) // also for those whose answers were still on their way into the kernel
    clock.release()
    await besideInnocent(server, async () => {
      await beginMany(PLACES / 2)
    })
  })
})
