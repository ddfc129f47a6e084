import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Readable, Writable } from 'node:stream'
import type { S3Access } from './radosgw.ts'

/** What the store is not asked for, or what the client hears instead of its answer: an error as S3 words it. */
export interface Refusal {
  status: number
  /** Such as `SlowDown`. */
  code: string
}

/**
 * What goes wrong with one request, and when:
 *
 * - `before`: the store does not see the request;
 * - `after`: the store has done it, and its answer is lost;
 * - within a body, once that many bytes of it have got through. Nothing goes wrong with a shorter one.
 *
 * `cut` closes the connection; `stall` keeps it open, and nothing moves on it any more.
 */
export type Fault =
  | { at: 'before' | 'after' | { requestBytes: number }; what: 'cut' | 'stall' | Refusal }
  | { at: { responseBytes: number }; what: 'cut' | 'stall' }

export interface ProxiedRequest {
  readonly method: string
  /** As sent, percent-encoded, such as `/bucket/key`. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** Whether the store sees anything of it. */
  isPassedOn: boolean
  /** What the client was answered; null if nothing (yet). */
  status: number | null
  /** Of the body: what has gone on to the store. */
  requestBytes: number
  /** Of the body: what has gone back to the client. */
  responseBytes: number
}

export interface FaultScope {
  /**
   * How many requests are to have the fault. All, until it is stopped, when left out. One whose client gives up before the
   * fault has come about does not count.
   */
  times?: number
  when?: (request: ProxiedRequest) => boolean
}

/** Between an S3 client and a store. Requests get through as they are: the signature covers their Host too. */
export interface S3Proxy extends S3Access {
  /** In the order in which they came. May be emptied. */
  readonly requests: ProxiedRequest[]
  /** Lets requests fail from now on. Where several faults suit, the first one counts. */
  fail(fault: Fault, scope?: FaultScope): InjectedFault
  /** Cuts all connections. */
  cut(): void
  close(): Promise<void>
}

export interface InjectedFault {
  /** How often it has come about. */
  readonly count: number
  /** No further requests have it. Those that stall go on stalling. */
  stop(): void
}

export async function openS3Proxy(store: S3Access): Promise<S3Proxy> {
  const requests: ProxiedRequest[] = []
  const faults: Armed[] = []
  const take = (client: IncomingMessage, answer: ServerResponse) => {
    const record = describe(client)
    requests.push(record)
    const armed = faults.find(({ left, when }) => left > 0 && when(record))
    if (armed) armed.left--
    exchange(store.endpoint, client, answer, record, armed)
  }
  // Idle connections stay open, so that none is closed that a client is about to use.
  const server = createServer({ noDelay: true, keepAliveTimeout: 0, requestTimeout: 0 }, take)
  server.on('checkContinue', take)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP

  return {
    ...store,
    endpoint: `http://127.0.0.1:${port}`,
    requests,
    fail: (fault, { times = Number.POSITIVE_INFINITY, when = () => true } = {}) => {
      const armed: Armed = { fault, when, left: times, count: 0 }
      faults.push(armed)
      return {
        get count() {
          return armed.count
        },
        stop: () => {
          armed.left = Number.NEGATIVE_INFINITY
        },
      }
    },
    cut: () => server.closeAllConnections(),
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

interface Armed {
  fault: Fault
  when: (request: ProxiedRequest) => boolean
  left: number
  count: number
}

/** One request and its answer. */
function exchange(
  endpoint: string,
  client: IncomingMessage,
  answer: ServerResponse,
  record: ProxiedRequest,
  armed: Armed | undefined,
): void {
  let hasStruck = false
  const at = armed?.fault.at
  if (at === 'before') {
    strike()
    return
  }
  const { method, url, headers } = client
  // A connection of its own, so that none is used that the store has left.
  record.isPassedOn = true
  const toStore = request(endpoint, { method, path: url, headers, agent: false })
  answer.once('close', () => {
    toStore.destroy()
    if (armed && !hasStruck && !answer.writableFinished) armed.left++
  })
  toStore.on('error', lose)
  toStore.on('continue', () => answer.writeContinue())
  toStore.on('response', (stored) => {
    stored.on('error', lose)
    if (at === 'after') {
      // A store may begin to answer before it is done: the end of the answer tells.
      stored.resume().on('end', strike)
      return
    }
    record.status = stored.statusCode ?? null
    answer.writeHead(stored.statusCode ?? 0, stored.statusMessage, stored.headers)
    answer.flushHeaders()
    relay(stored, answer, limitOf(at, 'responseBytes'), record, 'responseBytes', strike)
  })
  relay(client, toStore, limitOf(at, 'requestBytes'), record, 'requestBytes', strike)

  function strike(): void {
    if (!armed) return
    hasStruck = true
    armed.count++
    const { what } = armed.fault
    if (what === 'cut') cut()
    else if (what !== 'stall') refuse(what)
  }
  /** The store is gone, and so is the client's connection: it gets no answer of ours. */
  function lose(): void {
    if (!hasStruck) cut()
  }
  function cut(): void {
    client.socket.destroySoon() // what was written leaves first
  }
  function refuse({ status, code }: Refusal): void {
    record.status = status
    answer.writeHead(status, { 'content-type': 'application/xml' })
    answer.end(`<Error><Code>${code}</Code><Message>injected</Message></Error>`)
  }
}

function describe({ method = '', url = '', headers }: IncomingMessage): ProxiedRequest {
  const { pathname, searchParams } = new URL(url, 'http://store')
  return {
    method,
    path: pathname,
    query: searchParams,
    headers,
    isPassedOn: false,
    status: null,
    requestBytes: 0,
    responseBytes: 0,
  }
}

/** The byte of this body at which something goes wrong. */
function limitOf(at: Fault['at'] | undefined, body: 'requestBytes' | 'responseBytes'): number {
  const bytes = typeof at === 'object' ? (at as Partial<Record<typeof body, number>>)[body] : undefined
  return bytes ?? Number.POSITIVE_INFINITY
}

/** Passes a body on, and counts it. At `limit` bytes it takes no more, and calls `atLimit` once they have left. */
function relay(
  from: Readable,
  to: Writable,
  limit: number,
  record: ProxiedRequest,
  counter: 'requestBytes' | 'responseBytes',
  atLimit: () => void,
): void {
  const end = () => void to.end()
  from.on('end', end)
  from.on('data', function pass(chunk: Buffer) {
    const part = chunk.subarray(0, limit - record[counter])
    record[counter] += part.length
    if (record[counter] === limit) {
      // Its end may be on its way already, and would make a whole of the part.
      from.off('data', pass).off('end', end).pause()
      if (part.length > 0) to.write(part, atLimit)
      else atLimit()
    } else if (!to.write(part)) {
      from.pause()
      to.once('drain', () => from.resume())
    }
  })
}
