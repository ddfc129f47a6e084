import { readdir, readlink } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { HeldClock } from '../../support/held-clock.ts'
import { file, form, MULTIPART } from '../../support/multipart.ts'
import { areAllWelcome, chunk, RawConnection, type RawResponse, rawRequest } from '../../support/raw-http.ts'
import { type Served, startTestServer, type TestServer } from '../../support/server.ts'
import { expectNoDrift, expectNothingWritten } from '../../support/traces.ts'
import { until } from '../../support/wait.ts'

const LARGE = Buffer.alloc(900_000, 'x')
/** What the kernel keeps of one connection at most, on both sides, is 4 MiB and 32 MiB. In bytes. */
const MORE_THAN_BUFFERS = 45_000_000
const CHUNKED = 'Transfer-Encoding: chunked'
const TOO_LATE = {
  statusCode: '408',
  error: 'Request Timeout',
  message: 'The request did not come in time',
  code: 'InvalidRequest',
}

let server: TestServer
let auth: string
let open: RawConnection[] = []

beforeAll(async () => {
  server = await startTestServer({
    // Node counts it from the moment of the connection, and is not to do so against those who come in time.
    STORAGE_REQUEST_TIMEOUT: '2s',
    STORAGE_IDLE_TIMEOUT: '1s',
    STORAGE_MIN_UPLOAD_RATE: '2000',
    // So that a place that is not given back is missed at once.
    STORAGE_MAX_REQUESTS: '3',
    STORAGE_MAX_UPLOADS: '1',
  })
  auth = loginTo(server)
  await server.createBucket('box')
})

afterEach(async () => {
  for (const connection of open) connection.abort()
  open = []
  await expectNoDrift(server)
})

afterAll(() => server.close())

function loginTo({ keys }: TestServer): string {
  return `Authorization: Bearer ${keys.serviceKey}`
}

async function connect({ url }: Served = server): Promise<RawConnection> {
  const connection = await RawConnection.open(url)
  open.push(connection)
  return connection
}

/** Sends a byte again and again, until what `answer` waits for has come. */
async function dribble<T>(connection: RawConnection, byte: string | Buffer, answer: Promise<T>): Promise<T> {
  let isOver = false
  const ended = answer.finally(() => {
    isOver = true
  })
  ended.catch(() => {})
  while (!isOver) {
    await connection.send(byte)
    await delay(20)
  }
  return ended
}

describe('a request whose headers do not come in time', () => {
  it('is answered 408 while they dribble, and the connection ends', async () => {
    const connection = await connect()
    await connection.send('GET /status HTTP/1.1\r\nHost: test\r\nX-Slow: ')
    const response = await dribble(connection, 'a', connection.response())
    expect([response.status, response.json()]).toEqual([408, TOO_LATE])
    expect((await connection.rest()).length).toBe(0)
  })

  it('ends its connection when not even the first byte comes', async () => {
    const connection = await connect()
    expect((await connection.rest()).toString()).toMatch(/^(?:HTTP\/1\.1 408 |$)/)
  })
})

const PUT = '/object/box/never.bin'
type Beginning = [what: string, method: string, target: string, headers: string[], sent: Buffer]

const UPLOADS: Beginning[] = [
  ['a large raw body', 'PUT', PUT, ['Content-Length: 2000000'], LARGE],
  ['a large raw body before its first byte', 'PUT', PUT, ['Content-Length: 2000000'], Buffer.alloc(0)],
  ['a small raw body', 'PUT', PUT, ['Content-Length: 2000'], LARGE.subarray(0, 10)],
  ['a chunked body', 'PUT', PUT, [CHUNKED], chunk(LARGE)],
  [
    'a form within its file',
    'POST',
    PUT,
    [MULTIPART, 'Content-Length: 2000000'],
    form(file(LARGE)).subarray(0, 700_000),
  ],
]
/** These are no uploads, or not yet. */
const OTHERS: Beginning[] = [
  ['a form before its file', 'POST', PUT, [MULTIPART, 'Content-Length: 2000000'], Buffer.from('--')],
  [
    'a JSON body',
    'POST',
    '/object/move',
    ['Content-Type: application/json', 'Content-Length: 900'],
    Buffer.from('{'),
  ],
]

describe('bodies of all kinds at once', () => {
  /** Each has a place, and nobody else. */
  let full: Served
  let clock: HeldClock
  beforeAll(async () => {
    clock = new HeldClock()
    full = await server.beside({
      STORAGE_MAX_REQUESTS: String(UPLOADS.length + OTHERS.length),
      STORAGE_MAX_UPLOADS: String(UPLOADS.length),
      STORAGE_MAX_UPLOAD_SHARE: '1',
    })
  })
  afterAll(async () => {
    await full.close()
    clock.restore()
  })

  /** Says that each is refused as too late, once its beginning has come. @param hear waits for the answer */
  async function expectTooLate(
    hear: (connection: RawConnection, headers: string[]) => Promise<RawResponse>,
  ): Promise<void> {
    const all = [...UPLOADS, ...OTHERS]
    const answers = all.map(async ([what, method, target, headers, sent]) => {
      const connection = await connect(full)
      await connection.send(rawRequest(method, target, [auth, ...headers]), sent)
      const response = await hear(connection, headers)
      return [what, response.status, response.json()]
    })
    expect(await Promise.all(answers)).toEqual(all.map(([what]) => [what, 408, TOO_LATE]))
  }

  /** Says that there is a place for as many as before. Nobody is late meanwhile, nor slow enough to give way. */
  async function expectAllPlaces(): Promise<void> {
    const asking = (method: string, target: string, length: string) =>
      rawRequest(method, target, [auth, length, 'Content-Type: application/json', 'Expect: 100-continue'])
    const upload = asking('PUT', PUT, 'Content-Length: 2000000')
    const json = asking('POST', '/object/move', 'Content-Length: 900')
    const haveAllPlaces = async () => {
      const begun = [...UPLOADS.map(() => upload), ...OTHERS.map(() => json)].map(async (request) => {
        const connection = await connect(full)
        await connection.send(request)
        return connection
      })
      // Who has a place is told to go on. So short a limit may end a connection before.
      const areWelcome = await areAllWelcome(begun)
      for (const connection of begun) (await connection).abort()
      return areWelcome
    }
    await clock.during(() => until(haveAllPlaces, 'all places are free again'))
  }

  it('that stall are answered 408, and leave nothing', async () => {
    await expectNothingWritten(server, () =>
      expectTooLate(async (connection) => {
        const response = await connection.response()
        await connection.rest() // the connection ends, too
        return response
      }),
    )
    await expectAllPlaces()
  })

  it('that dribble are answered 408, and leave nothing', async () => {
    await expectNothingWritten(server, () =>
      expectTooLate((connection, headers) =>
        dribble(connection, headers.includes(CHUNKED) ? chunk('x') : ' ', connection.response()),
      ),
    )
    await expectAllPlaces()
  })
})

describe('a JSON body', () => {
  it('that comes fast enough, but not to its end in time, is answered 408', async () => {
    const connection = await connect()
    await connection.send(
      rawRequest('DELETE', '/object/box', [
        auth,
        'Content-Type: application/json',
        'Content-Length: 2000000',
      ]),
    )
    const response = await dribble(connection, Buffer.alloc(2000, ' '), connection.response())
    expect([response.status, response.json()]).toEqual([408, TOO_LATE])
  })
})

describe('a chunk of a resumable upload', () => {
  it('that stalls keeps what has come, and tells its client to go on', async () => {
    const metadata = [
      ['bucketName', 'box'],
      ['objectName', 'resumed.bin'],
    ].map(([key, value = '']) => `${key} ${Buffer.from(value).toString('base64')}`)
    const tus = { 'tus-resumable': '1.0.0' }
    const created = await server.request('POST', '/upload/resumable', {
      headers: { ...tus, 'upload-length': '2000000', 'upload-metadata': metadata.join(',') },
    })
    const { pathname } = new URL(created.headers.get('location') ?? '')
    const connection = await connect()
    const type = 'Content-Type: application/offset+octet-stream'
    const headers = [auth, 'Tus-Resumable: 1.0.0', type, 'Upload-Offset: 0', 'Content-Length: 2000000']
    await connection.send(rawRequest('PATCH', pathname, headers), LARGE)
    const stalled = await connection.response()
    expect([stalled.status, stalled.headers['tus-resumable']]).toEqual([503, '1.0.0'])
    const status = await server.request('HEAD', pathname, { headers: tus })
    expect(status.headers.get('upload-offset')).toBe(String(LARGE.length))
    const rest = Buffer.alloc(2_000_000 - LARGE.length)
    const finished = await server.request('PATCH', pathname, {
      headers: {
        ...tus,
        'content-type': 'application/offset+octet-stream',
        'upload-offset': String(LARGE.length),
      },
      body: rest,
    })
    expect(finished.status).toBe(204)
  })
})

describe('an upload to a process that was busy for longer than a client may be silent', () => {
  it.each([
    ['large', LARGE.length],
    ['small', 2000],
  ])('is stored: a %s body whose bytes came meanwhile was not late', async (_, length) => {
    const connection = await connect()
    const headers = [auth, `Content-Length: ${length}`, 'Expect: 100-continue']
    await connection.send(rawRequest('PUT', `/object/box/busy-${length}`, headers))
    expect((await connection.response()).status).toBe(100)
    const first = Math.min(length, 100_000)
    const sent = connection.send(LARGE.subarray(0, first))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500) // the kernel has them, and nobody reads
    await sent
    await connection.send(LARGE.subarray(first, length))
    expect((await connection.response()).status).toBe(201)
  })
})

describe('a download', () => {
  it('that nobody reads is cut off, and its file is closed', async () => {
    // Only who reads nothing is late here, not who asks.
    const patient = await startTestServer({ STORAGE_IDLE_TIMEOUT: '1s' })
    try {
      await patient.createBucket('box')
      const body = 'x'.repeat(MORE_THAN_BUFFERS)
      // Sent from this very process, which a busy machine may leave no time for a second: then it is late, too.
      const put = () => patient.request('PUT', '/object/box/large', { body }).then(({ ok }) => ok)
      await until(() => put().catch(() => false), 'there is something to read')
      const connection = await connect(patient)
      await connection.send(rawRequest('GET', '/object/box/large', [loginTo(patient)]))
      await connection.firstBytes()
      await until(async () => (await openObjects(patient)) === 0, 'the file is closed')
      connection.goOn()
      const { status, complete } = await connection.response()
      expect([status, complete]).toEqual([200, false])
    } finally {
      await patient.close()
    }
  })
})

describe('an upload over a slow line', () => {
  it('is stored, as long as its bytes keep coming', async () => {
    const patient = await startTestServer({ STORAGE_IDLE_TIMEOUT: '1500ms', STORAGE_REQUEST_TIMEOUT: '1s' })
    try {
      await patient.createBucket('box')
      const connection = await connect(patient)
      await connection.send(
        rawRequest('PUT', '/object/box/slow', [loginTo(patient), 'Content-Length: 150000']),
      )
      for (let sent = 0; sent < 150_000; sent += 3000) {
        await connection.send(LARGE.subarray(0, 3000))
        await delay(40)
      }
      expect((await connection.response()).status).toBe(201)
    } finally {
      await patient.close()
    }
  })
})

/** How many files of objects this process has open, and with it the server. */
async function openObjects({ dataDir }: TestServer): Promise<number> {
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return links.filter((path) => path.startsWith(`${dataDir}/objects/`)).length
}
