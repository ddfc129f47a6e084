import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type S3TestServer, startS3Server } from '../support/s3-protocol.ts'
import { type S3Keys, signRequest } from '../support/s3-signer.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/* What S3's own framing, signatures and numbers let an attacker try who has a key of a user's, or none. */

const CHUNKED = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER'

let server: S3TestServer
let attacker: S3Keys
beforeAll(async () => {
  server = await startS3Server()
  await server.createBucket('box', { policy: 'authenticated' })
  attacker = await server.session(randomUUID())
})
afterAll(() => server.close())

/** A request of the attacker's, and what it is answered. */
async function ask(method: string, target: string, body = '', keys = attacker): Promise<[number, string]> {
  const request = { method, url: `${server.endpoint}${target}`, ...(body !== '' && { body }) }
  const response = await fetch(request.url, {
    method,
    headers: signRequest(request, keys),
    ...(body !== '' && { body }),
  })
  return [response.status, await response.text()]
}

/** An upload in S3's chunks whose body is the socket's to send. */
async function beginChunks(key: string, headers: Record<string, string> = {}): Promise<Socket> {
  const { hostname, port, pathname } = new URL(`${server.endpoint}/box/${key}`)
  const signed = signRequest(
    {
      method: 'PUT',
      url: `${server.endpoint}/box/${key}`,
      payload: CHUNKED,
      headers: { 'x-amz-decoded-content-length': '1000000', 'content-encoding': 'aws-chunked', ...headers },
    },
    attacker,
  )
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {}) // it is told by what is heard
  await once(socket, 'connect')
  const lines = Object.entries({ host: `${hostname}:${port}`, 'content-length': '2000000', ...signed })
  socket.write(
    `PUT ${pathname} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}`).join('\r\n')}\r\n\r\n`,
  )
  return socket
}

/** The status that is answered, while something is sent again and again until then. */
async function answerTo(socket: Socket, piece: string): Promise<string> {
  let answer = ''
  socket.on('data', (bytes) => {
    answer += String(bytes)
  })
  const closed = once(socket, 'close')
  while (answer === '' && !socket.destroyed) {
    if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), once(socket, 'data'), closed])
    else await new Promise(setImmediate)
  }
  socket.destroy()
  return answer.split('\r\n', 1)[0] ?? ''
}

describe('an innocent client does not notice', () => {
  it('lines of chunks that have no end: each is refused, and nothing is stored', async () => {
    const { result } = await besideInnocent(server, () =>
      Promise.all(
        Array.from({ length: 40 }, async (_, n) =>
          answerTo(await beginChunks(`endless-${n}`), '0'.repeat(100)),
        ),
      ),
    )
    expect(new Set(result)).toEqual(new Set(['HTTP/1.1 400 Bad Request']))
    const rows = await server.admin`select name from storage.objects where name like 'endless-%'`
    expect(rows).toEqual([])
  })

  it('bodies that dribble chunk by chunk, and are left', async () => {
    await besideInnocent(server, async () => {
      const sockets = await Promise.all(Array.from({ length: 100 }, (_, n) => beginChunks(`slow-${n}`)))
      for (let round = 0; round < 50; round++) {
        for (const socket of sockets) socket.write('1\r\nx\r\n')
        await new Promise(setImmediate)
      }
      for (const socket of sockets) socket.destroy()
    })
    const rows = await server.admin`select name from storage.objects where name like 'slow-%'`
    expect(rows).toEqual([])
  })

  it('access keys that nobody has, in a flood: each is refused', async () => {
    const count = isFull ? 20_000 : 500
    const { result } = await besideInnocent(server, async () => {
      const statuses = new Set<number>()
      for (let sent = 0; sent < count; sent += 50) {
        const answers = Array.from({ length: 50 }, () =>
          ask('GET', '/box?list-type=2', '', { accessKeyId: randomUUID(), secretAccessKey: 'made up' }),
        )
        for (const [status] of await Promise.all(answers)) statuses.add(status)
      }
      return statuses
    })
    expect([...result]).toEqual([403])
  })

  it('parts of all numbers that name nothing, and numbers that there are not', async () => {
    const { result } = await besideInnocent(server, async () => {
      const [, begun] = await ask('POST', '/box/in-parts?uploads')
      const id = /<UploadId>(.*)<\/UploadId>/.exec(begun)?.[1] ?? ''
      const upload = `/box/in-parts?uploadId=${id}`
      const part = (n: number) => `<Part><PartNumber>${n}</PartNumber><ETag>"${'0'.repeat(32)}"</ETag></Part>`
      const parts = Array.from({ length: 10_000 }, (_, n) => part(n + 1)).join('')
      const outcomes = [
        await ask('POST', upload, `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`),
        await ask(
          'POST',
          upload,
          `<CompleteMultipartUpload>${parts}${part(10_001)}</CompleteMultipartUpload>`,
        ),
        await ask('PUT', `/box/in-parts?partNumber=10001&uploadId=${id}`, 'x'),
        await ask('PUT', `/box/in-parts?partNumber=0&uploadId=${id}`, 'x'),
        await ask('DELETE', upload),
      ]
      return outcomes.map(([status]) => status)
    })
    expect(result).toEqual([400, 400, 400, 400, 204])
  })
})

it('metadata without end is refused', async () => {
  const socket = await beginChunks('much', { 'x-amz-meta-a': 'x'.repeat(12_000) })
  expect(await answerTo(socket, '')).toMatch(/^HTTP\/1\.1 4(?:00|31) /)
})
