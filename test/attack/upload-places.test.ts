import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { file, form, MULTIPART } from '../support/multipart.ts'
import { chunk, RawConnection, rawRequest } from '../support/raw-http.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/** Two for the innocent client, and one that nobody may miss. */
const PLACES = 3
/** Of four times as many attackers as there are places. */
const ROUNDS = isFull ? 5 : 2
const LARGE = Buffer.alloc(900_000, 'x')
const CHUNKED = 'Transfer-Encoding: chunked'
const PIECE = 'Content-Type: application/offset+octet-stream'

let server: TestServer
let open: RawConnection[] = []

beforeAll(async () => {
  // One call of the database would be so quick that its upload takes, again and again, the place of one that has just begun.
  server = await startTestServer({ ...IN_FILES, STORAGE_MAX_UPLOADS: String(PLACES) })
  await server.createBucket('box')
})

afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await expectNoDrift(server)
})

afterAll(() => server.close())

const authOf = (token: string) => `Authorization: Bearer ${token}`
const base64 = (text: string) => Buffer.from(text).toString('base64')
const metadata = `Upload-Metadata: bucketName ${base64('box')},objectName ${base64('mine')}`

type Beginning = [what: string, method: string, target: string, headers: string[], sent: Buffer]

/** The beginnings of uploads that are never sent to their end. */
const BEGINNINGS: Beginning[] = [
  ['a large body', 'PUT', '/object/box/mine', ['Content-Length: 2000000'], LARGE],
  [
    'a large body before its first byte',
    'PUT',
    '/object/box/mine',
    ['Content-Length: 2000000'],
    Buffer.alloc(0),
  ],
  ['a small body', 'PUT', '/object/box/mine', ['Content-Length: 2000'], LARGE.subarray(0, 10)],
  [
    'a small body before its first byte',
    'POST',
    '/object/box/mine',
    ['Content-Length: 2000'],
    Buffer.alloc(0),
  ],
  ['a chunked body', 'POST', '/object/box/mine', [CHUNKED], chunk(LARGE.subarray(0, 10))],
  [
    'a small form',
    'POST',
    '/object/box/mine',
    [MULTIPART, 'Content-Length: 2000'],
    form(file(LARGE)).subarray(0, 300),
  ],
  [
    'a large form',
    'POST',
    '/object/box/mine',
    [MULTIPART, 'Content-Length: 2000000'],
    form(file(LARGE)).subarray(0, 700_000),
  ],
  [
    'a resumable upload',
    'POST',
    '/upload/resumable',
    ['Tus-Resumable: 1.0.0', 'Upload-Length: 2000000', PIECE, metadata, 'Content-Length: 2000000'],
    LARGE.subarray(0, 10),
  ],
]

async function begin(token: string, [, method, target, headers, sent]: Beginning) {
  const connection = await RawConnection.open(server.url)
  open.push(connection)
  await connection.send(rawRequest(method, target, [authOf(token), ...headers]), sent)
  return connection
}

describe('who may not upload', () => {
  it('hears so before the upload is there, and holds no place', async () => {
    await besideInnocent(server, async () => {
      // One after the other: a place that any of them kept would be missed until the end.
      for (const beginning of BEGINNINGS) {
        for (let round = 0; round < ROUNDS; round++) {
          const attackers = Array.from({ length: PLACES * 4 }, () => begin(server.keys.anonKey, beginning))
          for (const attacker of await Promise.all(attackers)) {
            expect((await attacker.response()).status, beginning[0]).toBe(403)
          }
        }
      }
    })
  })

  it('holds no place by a form that never gets to its file', async () => {
    await besideInnocent(server, async () => {
      const headers = [MULTIPART, 'Content-Length: 2000']
      const beginning: Beginning = ['', 'POST', '/object/box/mine', headers, Buffer.from('--')]
      await Promise.all(Array.from({ length: PLACES * 4 }, () => begin(server.keys.anonKey, beginning)))
      await delay(200) // of attack
    })
  })

  it("holds no place by pieces of somebody else's upload", async () => {
    const url = await new TusRequests(server).begin({ bucket: 'box', name: 'theirs' }, 2_000_000)
    const headers = ['Tus-Resumable: 1.0.0', 'Upload-Offset: 0', PIECE, 'Content-Length: 2000000']
    await besideInnocent(server, async () => {
      const { pathname } = new URL(url)
      const attackers = Array.from({ length: PLACES * 4 }, () =>
        begin(server.keys.anonKey, ['', 'PATCH', pathname, headers, LARGE.subarray(0, 10)]),
      )
      for (const attacker of await Promise.all(attackers))
        expect((await attacker.response()).status).toBe(403)
    })
    await new TusRequests(server).send('DELETE', url, { headers: { 'tus-resumable': '1.0.0' } })
  })
})

describe('who may upload, but dribbles', () => {
  const put = () => server.request('PUT', '/object/box/next', { body: 'next' })

  /** Begins as many as there are places, until they have them all. One by one, the first may be slow before the last begins. */
  async function dribble([what, method, target, headers, sent]: Beginning): Promise<void> {
    for (let count = 0; (await put()).status !== 503; count += PLACES) {
      const begun = Array.from({ length: PLACES }, (_, index) => {
        const own = `mine-${count + index}`
        const lines = headers.map((line) => line.replace(base64('mine'), base64(own)))
        return begin(server.keys.serviceKey, [what, method, target.replace(/mine$/, own), lines, sent])
      })
      await Promise.all(begun)
    }
  }

  it.each(BEGINNINGS.filter(([what]) => !/first byte|small form/.test(what)))(
    'gives way when all places are taken: %s',
    async (...beginning) => {
      await dribble(beginning)
      await until(async () => (await put()).ok, 'one has given way')
      expect(await (await server.request('GET', '/object/box/next')).text()).toBe('next')
    },
  )

  it('does not give way when it is fast enough', async () => {
    const headers = ['Content-Length: 1000000000']
    const fast = await begin(server.keys.serviceKey, ['', 'PUT', '/object/box/fast', headers, LARGE])
    await until(async () => {
      const [row] = await server.admin`select count(*)::int as n from storage.uploads`
      return row?.n === 1
    }, 'it has its place')
    let status = 0
    const answered = fast.response().then((response) => {
      status = response.status
    })
    answered.catch(() => {})
    let isOver = false
    const sending = (async () => {
      while (!isOver) {
        await fast.send(LARGE)
        await delay(100) // a pace: 9 MB in a second
      }
    })()
    sending.catch(() => {}) // it is awaited in the end
    if (BEGINNINGS[0]) await dribble(BEGINNINGS[0])
    await until(async () => (await put()).ok, 'another gives way')
    isOver = true
    await sending
    expect(status).toBe(0)
  })
})
