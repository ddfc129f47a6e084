import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { metadataOf } from '../support/tus-requests.ts'

const CHUNK = randomBytes(1024 * 1024)

/**
 * Sends `size` bytes, never more at once than the socket takes.
 *
 * @returns seconds until the answer, which must be a success
 */
export async function timeUpload(
  url: string,
  size: number,
  { method, headers = {} }: { method: 'POST' | 'PUT'; headers?: Record<string, string> },
): Promise<number> {
  const startedAt = performance.now()
  await send(request(url, { method, agent: false, headers: { ...headers, 'content-length': size } }), size)
  return (performance.now() - startedAt) / 1000
}

/**
 * Sends `size` bytes in pieces, one after the other on one connection, as tus-js-client does.
 *
 * @param url where uploads are created
 * @returns seconds until the last answer; all must be successes
 */
export async function timeResumableUpload(
  url: string,
  size: number,
  options: { bucket: string; name: string; pieceBytes: number; headers: Record<string, string> },
): Promise<number> {
  const { bucket, name, pieceBytes } = options
  const headers = { ...options.headers, 'tus-resumable': '1.0.0' }
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const startedAt = performance.now()
  const creation = {
    'content-length': 0,
    'upload-length': size,
    'upload-metadata': metadataOf({ bucketName: bucket, objectName: name }),
  }
  const created = await send(request(url, { method: 'POST', agent, headers: { ...headers, ...creation } }), 0)
  const location = created.headers.location ?? ''
  for (let offset = 0; offset < size; offset += pieceBytes) {
    const length = Math.min(pieceBytes, size - offset)
    const piece = {
      'content-type': 'application/offset+octet-stream',
      'content-length': length,
      'upload-offset': offset,
    }
    await send(request(location, { method: 'PATCH', agent, headers: { ...headers, ...piece } }), length)
  }
  const seconds = (performance.now() - startedAt) / 1000
  agent.destroy()
  return seconds
}

/** Sends the body, and returns the answer, which must be a success. */
async function send(sending: ClientRequest, size: number): Promise<IncomingMessage> {
  const answered = once(sending, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {}) // awaited below
  for (let left = size; left > 0; left -= CHUNK.length) {
    if (!sending.write(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK)) {
      await Promise.race([once(sending, 'drain'), answered])
    }
  }
  sending.end()
  const [response] = await answered
  const body = await text(response)
  const { statusCode = 0 } = response
  if (statusCode >= 300) throw new Error(`${sending.method} ${sending.path}: ${statusCode} ${body}`)
  return response
}

/**
 * Downloads and throws away, by a socket that reads into one buffer: an HTTP client would itself be what bounds
 * the speed.
 *
 * @returns seconds until the last byte
 */
export function timeDownload(url: string, size: number): Promise<number> {
  const { host, hostname, port, pathname, search } = new URL(url)
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    let head = ''
    let received = -1 // bytes of the body; -1 until the head is complete
    const socket = connect({
      host: hostname,
      port: Number(port || 80),
      onread: {
        buffer: Buffer.alloc(1024 * 1024),
        callback: (length, buffer) => {
          if (received >= 0) {
            received += length
          } else {
            head += Buffer.from(buffer.buffer, buffer.byteOffset, length).toString('latin1')
            const end = head.indexOf('\r\n\r\n')
            if (end < 0) return true
            received = head.length - end - 4
          }
          if (received >= size) socket.end()
          return true
        },
      },
    })
    socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    socket.once('error', reject)
    socket.once('close', () => {
      const [status = ''] = head.split('\r\n')
      if (status.includes(' 200 ') && received === size) resolve((performance.now() - startedAt) / 1000)
      else reject(new Error(`GET ${url}: ${status}, ${received} of ${size} bytes`))
    })
  })
}
