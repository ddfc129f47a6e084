import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FileStorage } from '../storage/file-storage.ts'
import type { StoredObject } from '../storage/stored-object.ts'
import type { Cors } from './cors.ts'
import { wholeObjectHeaders } from './object-response.ts'
import type { RequestLog } from './request-log.ts'
import { objectTarget, requestTarget } from './request-path.ts'

const ROUTE = '/object/public/'

/** Headers that ask for something else than the whole object. */
const SPECIAL = [
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'expect',
] as const

/**
 * The first step of a GET of a public object: if its row and bytes are in memory, they are sent as the route would send
 * them, before routing, which costs more than all the rest of such an answer. Everything else goes on to the app.
 */
export class PublicHits {
  readonly #parts: { files: FileStorage; requestLog: RequestLog; cors: Cors }
  /** By the row that is in memory, so that they go with it. */
  readonly #headers = new WeakMap<StoredObject, Record<string, string>>()

  constructor(parts: { files: FileStorage; requestLog: RequestLog; cors: Cors }) {
    this.#parts = parts
  }

  /** Returns whether it has answered. */
  answer(incoming: IncomingMessage, outgoing: ServerResponse): boolean {
    if (incoming.method !== 'GET') return false
    const { path, query } = requestTarget(incoming)
    if (query !== '' || !path.startsWith(ROUTE)) return false
    for (const name of SPECIAL) if (incoming.headers[name] !== undefined) return false
    const target = legalTarget(path)
    const hit = target && this.#parts.files.inMemory(target.bucket, target.name)
    if (!hit) return false
    const { object, bytes } = hit
    const { requestLog, cors } = this.#parts
    requestLog.begin(incoming, outgoing, {
      operation: 'storage.object.get_public',
      bucket: object.bucket,
      path: object.name,
      size: bytes.length,
      role: 'anon',
    })
    cors.allow(incoming, outgoing)
    outgoing.writeHead(200, this.#headersOf(object)).end(bytes)
    return true
  }

  #headersOf(object: StoredObject): Record<string, string> {
    let headers = this.#headers.get(object)
    if (!headers) {
      headers = wholeObjectHeaders(object)
      this.#headers.set(object, headers)
    }
    return headers
  }
}

/** Null for what the route will refuse. */
function legalTarget(path: string): { bucket: string; name: string } | null {
  try {
    return objectTarget(path, ROUTE)
  } catch {
    return null
  }
}
