import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { ListBucketsCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { RawConnection, rawRequest } from '../support/raw-http.ts'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { signRequest } from '../support/s3-signer.ts'
import { startTestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

describe('the port of S3 clients', () => {
  let server: S3TestServer
  let s3Url: string
  beforeAll(async () => {
    server = await startS3Server({ STORAGE_REQUEST_TIMEOUT: '1s', STORAGE_MAX_CONNECTIONS: '50' })
    s3Url = String(server.s3Url)
    await server.createBucket('box')
  })
  afterAll(() => server.close())

  it('is another one, where the protocol is at the root', async () => {
    expect(new URL(s3Url).port).not.toBe(new URL(server.url).port)
    const s3 = server.client(undefined, { endpoint: s3Url })
    const { Buckets } = await s3.send(new ListBucketsCommand())
    expect(Buckets?.map(({ Name }) => Name)).toEqual(['box'])
    await s3.send(new PutObjectCommand({ Bucket: 'box', Key: 'a/b c.txt', Body: 'by S3' }))
    const read = await server.request('GET', '/storage/v1/object/box/a/b%20c.txt')
    expect(await read.text()).toBe('by S3')
  })

  it.each([
    '/',
    '/health',
    '/status',
    '/storage/v1/bucket',
    '/object/box/a',
    '/upload/resumable',
    '/realtime/v1/websocket',
  ])('has nothing else there, not even %s', async (path) => {
    const response = await fetch(`${s3Url}${path}`, {
      headers: { authorization: `Bearer ${server.keys.serviceKey}`, 'x-request-id': 'asked-1' },
    })
    expect(response.status).toBeGreaterThanOrEqual(400)
    expect(response.headers.get('content-type')).toMatch(/^application\/xml/)
    expect(response.headers.get('x-request-id')).toBe('asked-1')
    await until(
      () => server.logs.some(({ msg, requestId }) => msg === 'request' && requestId === 'asked-1'),
      'it is in the log',
    )
  })

  it('answers in its own words what is no HTTP', async () => {
    const connection = await RawConnection.open(s3Url)
    await connection.send('NONSENSE\r\n\r\n')
    const { status, body } = await connection.response()
    expect([status, body.toString()]).toEqual([400, expect.stringMatching(/<Error>.*<Code>InvalidRequest</)])
  })

  it('gives up who dribbles his headers', async () => {
    const slow = await RawConnection.open(s3Url)
    await slow.send('GET / HTTP/1.1\r\nHost: x\r\n')
    expect((await slow.response()).status).toBe(408)
  })

  it('counts its connections with those of the main one: the oldest idle one makes room', async () => {
    const oldest = await RawConnection.open(s3Url)
    const gone = oldest.rest()
    for (let index = 0; index < 60; index++) await RawConnection.open(index % 2 === 0 ? server.url : s3Url)
    await gone
    const asked = rawRequest('GET', '/storage/v1/health/live')
    const last = await RawConnection.open(server.url)
    await last.send(asked)
    expect((await last.response()).status).toBe(200)
  })
})

it('a stop lets an upload there come to its end', async () => {
  const server = await startS3Server({ STORAGE_SHUTDOWN_TIMEOUT: '1h' })
  await server.createBucket('box')
  const url = `${server.s3Url}/box/slow.txt`
  const headers = signRequest({ method: 'PUT', url, payload: 'UNSIGNED-PAYLOAD' }, server.keys3)
  const up = await RawConnection.open(url)
  const lines = Object.entries({
    ...headers,
    host: new URL(url).host,
    'content-length': '7',
    expect: '100-continue',
  }).map(([name, value]) => `${name}: ${value}`)
  await up.send(`PUT /box/slow.txt HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
  expect((await up.response()).status).toBe(100)
  await up.send('one ')
  const closed = server.close()
  await expect(fetch(`${server.s3Url}/`)).rejects.toThrow()
  await up.send('two')
  expect((await up.response()).status).toBe(200)
  await closed
})

it('with 0 there is none', async () => {
  const server = await startTestServer({ STORAGE_S3_PROTOCOL_PORT: '0' })
  expect(server.s3Url).toBeNull()
  await server.close()
})

describe('where the port is taken', () => {
  let holder: Server
  afterEach(async () => {
    holder.close()
    await once(holder, 'close')
  })

  /** Two ports in a row, of which somebody has the second one. */
  async function takenNext(): Promise<number> {
    for (;;) {
      const port = await freePort()
      holder = createServer()
      const isTaken = await new Promise<boolean>((done) => {
        holder.once('error', () => done(false)).listen(port + 1, '127.0.0.1', () => done(true))
      })
      if (isTaken) return port
    }
  }

  it('and nobody has asked for it, a warning says so, and the server goes on without', async () => {
    const port = await takenNext()
    const server = await startTestServer({ STORAGE_PORT: String(port) })
    expect(server.s3Url).toBeNull()
    expect(server.logs.filter(({ level }) => level >= 40)).toEqual([
      expect.objectContaining({
        msg: expect.stringMatching(
          new RegExp(`^the port ${port + 1}, for S3 clients, .* STORAGE_S3_PROTOCOL_PORT`),
        ),
      }),
    ])
    expect((await fetch(`${server.url}/storage/v1/s3`)).status).toBe(403)
    await server.close()
  })

  it('and somebody has, the start fails', async () => {
    const port = await takenNext()
    const starting = startTestServer({ STORAGE_S3_PROTOCOL_PORT: String(port + 1) })
    await expect(starting).rejects.toMatchObject({
      code: 'EADDRINUSE',
      port: port + 1,
      setting: 'STORAGE_S3_PROTOCOL_PORT',
    })
  })
})
