import { stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { HeldClock } from '../support/held-clock.ts'
import { file, form, MULTIPART } from '../support/multipart.ts'
import { chunk, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openFiles } from '../support/stored-files.ts'
import { expectNoDrift } from '../support/traces.ts'
import { TusRequests } from '../support/tus-requests.ts'
import { until, within } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/** Two for the innocent client, and one that nobody may miss. */
const PLACES = 3
/** Of four times as many attackers as there are places. */
const ROUNDS = isFull ? 5 : 2
const LARGE = Buffer.alloc(900_000, 'x')
const CHUNKED = 'Transfer-Encoding: chunked'
/** Said, so that no first bytes are waited for to find it. */
const TYPE = 'Content-Type: text/plain'
const PIECE = 'Content-Type: application/offset+octet-stream'

/** A client is watched for so long before it is slow, in milliseconds. */
const JUDGED_AFTER_MS = 5000
/** Less than so many bytes of a body that has come are not in its file. */
const BATCH = 1024 * 1024

let clock: HeldClock
let server: TestServer
let open: RawConnection[] = []

beforeAll(async () => {
  clock = new HeldClock()
  server = await startTestServer({
    STORAGE_MAX_UPLOADS: String(PLACES),
    STORAGE_MAX_UPLOAD_SHARE: '1',
    // Nobody is ended but by giving way.
    STORAGE_IDLE_TIMEOUT: '1h',
    STORAGE_REQUEST_TIMEOUT: '1h',
  })
  await server.createBucket('box')
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

const authOf = (token: string) => `Authorization: Bearer ${token}`
const base64 = (text: string) => Buffer.from(text).toString('base64')
const metadata = `Upload-Metadata: bucketName ${base64('box')},objectName ${base64('mine')}`

type Beginning = [what: string, method: string, target: string, headers: string[], sent: Buffer]

/** The beginnings of uploads that are never sent to their end. */
const BEGINNINGS: Beginning[] = [
  ['a large body', 'PUT', '/object/box/mine', [TYPE, 'Content-Length: 2000000'], LARGE],
  [
    'a large body before its first byte',
    'PUT',
    '/object/box/mine',
    [TYPE, 'Content-Length: 2000000'],
    Buffer.alloc(0),
  ],
  ['a small body', 'PUT', '/object/box/mine', [TYPE, 'Content-Length: 2000'], LARGE.subarray(0, 10)],
  [
    'a small body before its first byte',
    'POST',
    '/object/box/mine',
    [TYPE, 'Content-Length: 2000'],
    Buffer.alloc(0),
  ],
  ['a chunked body', 'POST', '/object/box/mine', [TYPE, CHUNKED], chunk(LARGE.subarray(0, 10))],
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

  it.each([
    ['a form that never gets to its file', [MULTIPART, 'Content-Length: 2000']],
    ['a body of no type whose first bytes never come', ['Content-Length: 2000']],
  ])('holds no place by %s', async (_what, headers) => {
    await besideInnocent(server, async () => {
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
  beforeAll(() => clock.hold())

  const put = () => server.request('PUT', '/object/box/next', { body: 'next' })

  /**
   * Begins as many as there are places, and one more: that one is refused tells that the others have them all.
   *
   * @returns these, and what the first of them hears that is ended
   */
  async function takeAll([what, method, target, headers, sent]: Beginning) {
    const beginning = async (own: string) => {
      const lines = headers.map((line) => line.replace(base64('mine'), base64(own)))
      return begin(server.keys.serviceKey, [what, method, target.replace(/mine$/, own), lines, sent])
    }
    const begun = await Promise.all(
      Array.from({ length: PLACES + 1 }, (_, index) => beginning(`mine-${index}`)),
    )
    const answers = begun.map(async (connection) => {
      const { status } = await connection.response()
      return { connection, status }
    })
    const refused = await within(Promise.race(answers), 'all places are taken')
    expect(refused.status).toBe(503)
    const ended = Promise.race(answers.filter((_, index) => begun[index] !== refused.connection))
    ended.catch(() => {}) // they are aborted when the test is over
    return { holders: begun.filter((connection) => connection !== refused.connection), ended }
  }

  /** Time passes, with or without bytes. */
  const oneHasGivenWay = async () => {
    clock.pass(JUDGED_AFTER_MS)
    return (await put()).ok
  }

  it.each(BEGINNINGS)('gives way when all places are taken: %s', async (...beginning) => {
    const { ended } = await takeAll(beginning)
    clock.pass(JUDGED_AFTER_MS - 1)
    expect((await put()).status, 'too early to call anybody slow').toBe(503)
    await until(oneHasGivenWay, 'one has given way')
    expect(await (await server.request('GET', '/object/box/next')).text()).toBe('next')
    const { status } = await within(ended, 'it hears of it')
    expect(status).toBe(beginning[2].startsWith('/upload/') ? 503 : 408)
  })

  it('does not give way when it is fast enough, but when it stalls', async () => {
    const headers = ['Content-Length: 1000000000']
    const { holders } = await takeAll(['', 'PUT', '/object/box/mine', headers, LARGE])
    const haveWritten = async (bytes: number) => {
      const files = await openFiles(server)
      const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size))
      return sizes.filter((size) => size > bytes - BATCH).length === PLACES
    }
    for (let sent = 2 * LARGE.length; sent <= 4 * LARGE.length; sent += LARGE.length) {
      await Promise.all(holders.map((holder) => holder.send(LARGE)))
      await until(() => haveWritten(sent), 'the server has read what was sent')
      expect(await oneHasGivenWay()).toBe(false)
    }
    await until(oneHasGivenWay, 'one has given way')
  })
})
