import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'

const CHUNK = randomBytes(1024 * 1024)

/**
 * Sends `size` bytes, never more at once than the socket takes.
 *
 * @returns seconds until the answer, which must be a success
 */
export async function timeUpload(
  url: string,
  size: number,
  options: { method: 'POST' | 'PUT'; headers?: Record<string, string> },
): Promise<number> {
  const { method, headers = {} } = options
  const startedAt = performance.now()
  const sending = request(url, { method, agent: false, headers: { ...headers, 'content-length': size } })
  const answered = once(sending, 'response')
  answered.catch(() => {}) // awaited below
  for (let left = size; left > 0; left -= CHUNK.length) {
    if (!sending.write(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK)) {
      await Promise.race([once(sending, 'drain'), answered])
    }
  }
  sending.end()
  const [response] = await answered
  const seconds = (performance.now() - startedAt) / 1000
  const body = await text(response)
  if (response.statusCode >= 300) throw new Error(`${method} ${url}: ${response.statusCode} ${body}`)
  return seconds
}

/**
 * Downloads and throws away, by a socket that reads into one buffer: an HTTP client would itself be what bounds
 * the speed.
 *
 * @returns seconds until the last byte
 */
export function timeDownload(url: string, size: number): Promise<number> {
  const { hostname, port, pathname } = new URL(url)
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    let head = ''
    let received = -1 // bytes of the body; -1 until the head is complete
    const socket = connect({
      host: hostname,
      port: Number(port),
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
    socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: close\r\n\r\n`)
    socket.once('error', reject)
    socket.once('close', () => {
      const [status = ''] = head.split('\r\n')
      if (status.includes(' 200 ') && received === size) resolve((performance.now() - startedAt) / 1000)
      else reject(new Error(`GET ${url}: ${status}, ${received} of ${size} bytes`))
    })
  })
}
