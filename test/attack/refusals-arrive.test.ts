import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeWith } from '../support/installed.ts'
import { field, file, form, MULTIPART } from '../support/multipart.ts'
import { type Nginx, startNginx } from '../support/nginx.ts'
import { chunk, RawConnection, rawRequest } from '../support/raw-http.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { expectNoDrift } from '../support/traces.ts'
import { until } from '../support/wait.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/** Far more than the buffers of two kernels and a proxy take. */
const BYTES = Buffer.alloc(isFull ? 60_000_000 : 40_000_000, 'x')
const SIZE = `${BYTES.length / 1e6} MB`
/** Of each refusal, by each way. */
const TIMES = isFull ? 20 : 1

let server: TestServer
/** Its only place for an upload is taken. */
let full: TestServer
let auth: string
let holder: RawConnection

beforeAll(async () => {
  server = await startTestServer()
  full = await startTestServer({
    STORAGE_MAX_UPLOADS: '1',
    STORAGE_IDLE_TIMEOUT: '1h',
    STORAGE_MIN_UPLOAD_RATE: '0',
  })
  auth = `Authorization: Bearer ${server.keys.serviceKey}`
  await server.createBucket('box')
  await server.createBucket('small', { file_size_limit: 1000 })
  await server.createBucket('images', { allowed_mime_types: ['image/png'] })
  await server.request('POST', '/object/box/taken', { body: 'x' })
  await full.createBucket('box')
  holder = await RawConnection.open(full.url)
  const headers = [authOf(full), 'Content-Type: text/plain', 'Content-Length: 1000000']
  await holder.send(rawRequest('PUT', '/object/box/held', headers))
  await until(async () => {
    const [row] = await full.admin`select count(*)::int as n from storage.uploads`
    return row?.n === 1
  }, 'the place is taken')
})

afterAll(async () => {
  holder.abort()
  await expectNoDrift(server)
  await Promise.all([server.close(), full.close()])
})

const authOf = ({ keys }: TestServer) => `Authorization: Bearer ${keys.serviceKey}`

/** Why an upload is refused, told as soon as its headers are known. */
const REFUSALS: [status: number, bucket: string, name: string, isSigned: boolean][] = [
  [401, 'box', 'never', false],
  [404, 'missing', 'never', true],
  [409, 'box', 'taken', true],
  [413, 'small', 'never', true],
  [415, 'images', 'never', true],
]

const base64 = (text: string) => Buffer.from(text).toString('base64')
const wholeForm = form(field('cacheControl', '60'), file(BYTES))

/** The ways in which an upload can be sent. */
const WAYS: Record<string, (bucket: string, name: string, headers: string[]) => Buffer> = {
  raw: (bucket, name, headers) =>
    rawRequest('POST', `/object/${bucket}/${name}`, [...headers, 'Content-Type: text/plain'], BYTES),
  form: (bucket, name, headers) =>
    rawRequest('POST', `/object/${bucket}/${name}`, [...headers, MULTIPART], wholeForm),
  TUS: (bucket, name, headers) =>
    rawRequest(
      'POST',
      '/upload/resumable',
      [
        ...headers,
        'Tus-Resumable: 1.0.0',
        `Upload-Length: ${BYTES.length}`,
        'Content-Type: application/offset+octet-stream',
        `Upload-Metadata: bucketName ${base64(bucket)},objectName ${base64(name)},contentType ${base64('text/plain')}`,
      ],
      BYTES,
    ),
}

/** Writes all of a request before it reads a byte, as simple clients do. @returns the status, 0 for a broken pipe */
async function statusOf(url: string, request: Buffer): Promise<number> {
  const connection = await RawConnection.open(url)
  try {
    await connection.send(request)
    return (await connection.response()).status
  } catch {
    return 0
  } finally {
    connection.abort()
  }
}

async function refusedTimes(url: string, request: Buffer, status: number, times: number): Promise<void> {
  const seen: number[] = []
  for (let round = 0; round < times; round++) seen.push(await statusOf(url, request))
  expect(seen).toEqual(Array(times).fill(status))
}

describe.each(Object.entries(WAYS))(`a refused upload of ${SIZE}, %s,`, (_way, request) => {
  it.each(REFUSALS)('hears %i', async (status, bucket, name, isSigned) => {
    const headers = isSigned ? [auth] : []
    const kept: string[][] = [[]]
    for (const more of isFull || status === 401 || status === 413 ? [...kept, ['Connection: close']] : kept) {
      await refusedTimes(server.url, request(bucket, name, [...headers, ...more]), status, TIMES)
    }
  })

  it('hears 503', async () => {
    await refusedTimes(full.url, request('box', 'never', [authOf(full)]), 503, TIMES)
  })
})

describe(`a refused upload of ${SIZE}`, () => {
  it('leaves its connection fit for the next request', async () => {
    const connection = await RawConnection.open(server.url)
    for (const [status, bucket, name] of REFUSALS.slice(1)) {
      await connection.send(WAYS.raw?.(bucket, name, [auth]) ?? '')
      expect((await connection.response()).status).toBe(status)
    }
    await connection.send(rawRequest('GET', '/object/box/taken', [auth]))
    expect((await connection.response()).body.toString()).toBe('x')
    connection.abort()
  })

  it('hears 413 when only its chunks say how long it is', async () => {
    const request = rawRequest('POST', '/object/small/never', [auth, 'Transfer-Encoding: chunked'])
    const chunks = Buffer.concat([request, chunk(BYTES), chunk('')])
    await refusedTimes(server.url, chunks, 413, TIMES)
  })

  it('hears 400 when its form breaks within', async () => {
    const broken = Buffer.concat([file('x'), file(BYTES, 'text/plain', 'second')])
    await refusedTimes(
      server.url,
      rawRequest('POST', '/object/box/never', [auth, MULTIPART], broken),
      400,
      TIMES,
    )
  })

  it('hears 400 and 431 when it is no HTTP', async () => {
    const target = '/object/box/never'
    const twice = rawRequest('POST', target, [auth, 'Content-Length: 5', 'Content-Length: 6'], BYTES)
    await refusedTimes(server.url, twice, 400, TIMES)
    await refusedTimes(
      server.url,
      rawRequest('POST', target, [auth, `X: ${'x'.repeat(70_000)}`], BYTES),
      431,
      TIMES,
    )
  })

  it('does not keep a shutdown, nor a place', async () => {
    const other = await startTestServer({ STORAGE_MAX_REQUESTS: '2', STORAGE_SHUTDOWN_TIMEOUT: '60s' })
    const connections: RawConnection[] = []
    for (let count = 0; count < 4; count++) {
      const connection = await RawConnection.open(other.url)
      connections.push(connection)
      await connection.send(
        rawRequest('PUT', '/object/missing/never', [authOf(other), `Content-Length: ${BYTES.length}`]),
        BYTES.subarray(0, 1_000_000),
      )
      expect((await connection.response()).status).toBe(404)
    }
    expect((await other.request('GET', '/bucket')).status).toBe(200)
    await other.close()
    expect(other.logs.filter(({ msg }) => String(msg).includes('still running'))).toEqual([])
    for (const connection of connections) connection.abort()
  })

  it('costs an innocent client nothing', async () => {
    await besideInnocent(server, async () => {
      const [, bucket, name] = REFUSALS[1] ?? []
      const request = WAYS.raw?.(bucket ?? '', name ?? '', [auth]) ?? Buffer.alloc(0)
      await Promise.all(Array.from({ length: 4 }, () => refusedTimes(server.url, request, 404, TIMES)))
    })
  })
})

describeWith('nginx', 'through nginx', () => {
  describe.each(['on', 'off'] as const)('with its defaults, and request buffering %s', (buffering) => {
    let nginx: Nginx
    let nginxOfFull: Nginx
    beforeAll(async () => {
      nginx = await startNginx(server.url, { buffering })
      nginxOfFull = await startNginx(full.url, { buffering })
    })
    afterAll(() => Promise.all([nginx?.close(), nginxOfFull?.close()]))

    const ways = Object.values(WAYS)
    const refusals = [...REFUSALS, [503, 'box', 'never', true] as const].map(
      ([status, bucket, name, isSigned], index) => ({
        ...{ status, bucket, name, isSigned },
        requests: isFull ? ways : ways.slice(index % ways.length).slice(0, 1),
      }),
    )
    it.each(refusals)(
      `a refused upload of ${SIZE} hears $status, never 502`,
      async ({ status, bucket, name, isSigned, requests }) => {
        const [url, own] = status === 503 ? [nginxOfFull.url, authOf(full)] : [nginx.url, auth]
        for (const request of requests) {
          await refusedTimes(url, request(bucket, name, isSigned ? [own] : []), status, TIMES)
        }
      },
      180_000,
    )
  })
})

it('the form of the tests is one that is taken', async () => {
  expect(
    await statusOf(server.url, rawRequest('PUT', '/object/box/whole', [auth, MULTIPART], wholeForm)),
  ).toBe(201)
  await server.request('DELETE', '/object/box/whole')
})
