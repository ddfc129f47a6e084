import type { FileStorage } from '../../storage/file-storage.ts'
import type { StoredObject } from '../../storage/object/stored-object.ts'
import { ANONYMOUS } from '../auth/caller.ts'
import type { RateLimits } from '../auth/rate-limits.ts'
import { CONDITIONAL_HEADERS } from '../message/conditionals.ts'
import { wholeObjectHeaders } from '../message/object-response.ts'
import { objectTarget } from '../message/request-path.ts'
import type { Cors } from '../middleware/cors.ts'
import { ALWAYS, type Exchange, type RequestNotes } from '../surface.ts'

const ROUTE = '/object/public/'

/** Headers that ask for something else than the whole object, or say that a body follows. */
const SPECIAL = ['range', 'expect', 'content-length', 'transfer-encoding', ...CONDITIONAL_HEADERS] as const

/** Hosts in which nothing can be wrong. */
const PLAIN_HOST = /^[\w.-]+(?::(?:[1-5]\d{0,4}|6[0-4]\d{3}|[6-9]\d{0,3}))?$/

export interface HotGetParts {
  files: FileStorage
  cors: Cors
  rates: RateLimits | undefined
}

/**
 * The first step of a GET of a public object: if its row and bytes are in memory, they are sent as the route would send
 * them, before routing, which costs more than all the rest of such an answer. Everything else goes on to the app.
 */
export class HotGet {
  readonly #parts: HotGetParts
  /** By the row that is in memory, so that they go with it. */
  readonly #prepared = new WeakMap<StoredObject, Prepared>()

  constructor(parts: HotGetParts) {
    this.#parts = parts
  }

  /**
   * Answers a request whose connection has nothing else to send.
   *
   * @returns whether it has
   */
  answer(exchange: Exchange): boolean {
    const { incoming, outgoing, requestId } = exchange
    if (incoming.method !== 'GET') return false
    const { path, query } = exchange.target
    if (query !== '' || !path.startsWith(ROUTE)) return false
    const sent = incoming.headers
    for (const name of SPECIAL) if (sent[name] !== undefined) return false
    if (sent.host === undefined || !PLAIN_HOST.test(sent.host)) return false
    const target = legalTarget(path)
    const hit = target && this.#parts.files.inMemory(target.bucket, target.name)
    if (!hit) return false
    const rate = this.#parts.rates?.judge(exchange, ANONYMOUS, 'read') ?? NO_RATE
    if (!rate.isAllowed) return false // the route says so
    const { headers, notes } = this.#answerFor(hit.object)
    exchange.notes = notes
    // All at once, and in one list: each header that is set by itself costs as much as ten here.
    const { headers: cors } = this.#parts.cors.answer(incoming)
    outgoing.writeHead(200, ['X-Request-Id', requestId, ...rate.headers, ...cors, ...headers]).end(hit.bytes)
    return true
  }

  #answerFor(object: StoredObject): Prepared {
    let prepared = this.#prepared.get(object)
    if (!prepared) {
      const { bucket, name, size } = object
      prepared = {
        headers: Object.entries({ ...ALWAYS, ...wholeObjectHeaders(object) }).flat(),
        notes: {
          operation: 'storage.object.get_public',
          role: 'anon',
          via: 'public',
          objectId: object.id,
          bucket,
          path: name,
          ...(size !== null && { size, sent: size }),
        },
      }
      this.#prepared.set(object, prepared)
    }
    return prepared
  }
}

const NO_RATE = { isAllowed: true, headers: [] }

/** What the answers with one object have in common. */
interface Prepared {
  /** Names and values in turn. */
  headers: string[]
  notes: RequestNotes
}

/** Null for what the route will refuse. */
function legalTarget(path: string): { bucket: string; name: string } | null {
  try {
    return objectTarget(path, ROUTE)
  } catch {
    return null
  }
}
