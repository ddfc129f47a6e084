import { STATUS_CODES } from 'node:http'
import type { ErrorAnswer } from '../surface.ts'

/** A whole response as it travels, for connections on which there is no response object to write to. */
export function rawAnswer({ status, headers, body }: ErrorAnswer, always: Record<string, string>): string {
  const lines = Object.entries({
    'Content-Length': String(Buffer.byteLength(body)),
    ...always,
    ...headers,
    Connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}\r\n${lines.join('')}\r\n${body}`
}
