import { STATUS_CODES } from 'node:http'
import { type StorageError, wireError } from '../../model/errors.ts'
import { jsonLine } from './json-lines.ts'

/** An error's whole response as it travels, for connections on which there is no response object to write to. */
export function rawAnswer(
  error: StorageError,
  compat: boolean,
  headers: Record<string, string> = {},
): string {
  const { http, body: fields } = wireError(error, compat)
  const body = jsonLine(fields)
  const lines = Object.entries({
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(body)),
    'X-Content-Type-Options': 'nosniff',
    ...error.headers,
    ...headers,
    Connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${http} ${STATUS_CODES[http] ?? 'Error'}\r\n${lines.join('')}\r\n${body}`
}
