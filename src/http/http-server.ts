import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6, Server as NetServer, type Socket } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import type { Logger } from 'pino'
import type { Limits } from '../config/limits.ts'
import { StorageError } from '../model/errors.ts'
import { BodyPace } from './connection/body-pace.ts'
import type { Connections } from './connection/connections.ts'
import { LINGERING_LIMITS, Lingering } from './connection/lingering.ts'
import { inTurn, unansweredOn } from './connection/pipeline.ts'
import { type OnRequestEnd, RequestEnds } from './request-end.ts'
import { Exchange, headersOf, RequestContext, type Surfaces } from './surface.ts'
import { answerUnparsable } from './unparsable.ts'
import { goOnWithout, openWebSocket } from './upgrade.ts'

/** Room for a long path, a token with many claims, and user metadata in a header. In bytes. */
const MAX_HEADER_BYTES = 64 * 1024

/** Node looks for headers that are late so often, at the least. In milliseconds. */
const LONGEST_LOOK_MS = 30_000

/** A machine without a free file descriptor says so for each connection that asks. In milliseconds. */
const ACCEPT_WARNING_MS = 10_000

/** Of a response's end; `pipeline` alone has half a dozen. More would be a leak. */
const MOST_LISTENERS = 20

export interface HttpServerOptions {
  fetch: (request: Request, exchange: Exchange) => Response | Promise<Response>
  /** The one that a request comes to has the first look at it. */
  surfaces: Surfaces
  /** They hear of each request that has begun. */
  onRequestEnd: OnRequestEnd[]
  connections: Connections
  limits: Pick<Limits, 'requestMs' | 'idleMs' | 'minUploadRate'>
  logger: Logger
}

/** A server that hands its requests to the app; it answers by itself what is no request at all. */
export function createHttpServer(options: HttpServerOptions): Server {
  const { fetch, surfaces, connections, logger } = options
  const { requestMs, idleMs, minUploadRate } = options.limits
  const pace = new BodyPace({ windowMs: idleMs, minRate: minUploadRate, requestMs })
  const lingering = new Lingering(LINGERING_LIMITS)
  const ends = new RequestEnds(options.onRequestEnd, logger)
  // The adapter knows nothing of ours. It calls back before it returns, so that this is the one it was called for.
  let begun: Exchange
  const listener = getRequestListener((request) => fetch(request, begun), {
    autoCleanupIncoming: false, // `lingering` does that, and takes longer about it
    hostname: 'localhost', // for HTTP/1.0, which needs no Host: load balancers ask for health that way
    // Only what is no HTTP request at all gets here, such as an impossible Host header.
    errorHandler: (cause) => {
      const { status, headers, body } = begun.surface.error(
        new StorageError('InvalidRequest', { cause }),
        begun,
      )
      return new Response(body, { status, headers })
    },
  })
  // Its type also knows HTTP/2, which we do not serve.
  const handle = listener as (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: requestMs,
      keepAliveTimeout: 65_000,
      requestTimeout: 0, // a large upload over a slow line takes hours; `timeout` and `pace` find the dead ones
      // Of two that may only come once Node would drop the second without a word, which another reader might not.
      joinDuplicateHeaders: true,
      connectionsCheckingInterval: Math.min(LONGEST_LOOK_MS, Math.ceil(requestMs / 4)),
    },
    (incoming, outgoing) => answer(incoming, outgoing),
  )
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const exchange = new Exchange(incoming, outgoing, surfaces)
    const { socket } = incoming
    if (connections.isQuiet(socket) && exchange.surface.answerAtOnce?.(exchange)) {
      ends.answeredAtOnce(exchange)
      return
    }
    outgoing.setMaxListeners(MOST_LISTENERS)
    // Nobody would hear the answer of what comes behind the last one.
    if (!socket.writable || !connections.begin(socket, outgoing)) return
    ends.watch(exchange)
    const bringsBody = hasBody(incoming)
    if (bringsBody) lingering.watch(incoming, outgoing)
    endWhenStalled(incoming, outgoing, pace)
    inTurn(exchange, () => {
      setHeaders(exchange)
      if (!isFramedAsWeKnow(incoming)) return refuseCoding(exchange)
      if (bringsBody) pace.watch(incoming, outgoing)
      begun = exchange
      void handle(incoming, outgoing)
    })
  }
  // A socket that has been closed knows it only if it was asked before.
  server.on('connection', (socket) => void socket.remoteAddress)
  server.timeout = idleMs
  server.maxConnections = connections.dropFrom
  // Their size is limited, not their number: Node 20 would leave out those past a thousand, without a word.
  server.maxHeadersCount = 0
  server.on('checkContinue', (incoming, outgoing) => {
    // A client that asks before it sends is told to go on by the first look at the body, that is, not if the
    // upload is refused (RFC 9110 §10.1.1). Nobody knows then whether the body will come or the next request.
    const { shouldKeepAlive } = outgoing
    outgoing.shouldKeepAlive = false
    const goOn = (event: string | symbol) => {
      if ((event !== 'data' && event !== 'readable') || outgoing.headersSent) return
      incoming.off('newListener', goOn) // whoever else looks at it has been told that it comes
      outgoing.shouldKeepAlive = shouldKeepAlive
      outgoing.writeContinue()
    }
    incoming.on('newListener', goOn)
    answer(incoming, outgoing)
  })
  server.on('connection', (socket: Socket) => connections.add(socket))
  server.on('upgrade', (incoming, stream, head) => {
    const socket = stream as Socket // of this server
    if (unansweredOn(socket)) {
      socket.destroy() // what it is to become would be mixed with the answer that it still owes
      return
    }
    const request = new RequestContext(incoming, surfaces)
    const { webSockets } = request.surface
    if (webSockets?.areAskedFor(request) && !connections.isSurplus(socket) && mayBeUpgraded(incoming)) {
      connections.keep(socket)
      void openWebSocket({ webSockets, request, socket, head, ends, logger })
    } else {
      goOnWithout(server, incoming, socket, head)
    }
  })
  let warnedAt = Number.NEGATIVE_INFINITY
  server.on('error', (error) => {
    // A connection that could not be accepted. Nobody listening would end the process.
    if (!server.listening || performance.now() - warnedAt < ACCEPT_WARNING_MS) return
    warnedAt = performance.now()
    logger.error({ err: error }, 'connections cannot be accepted')
  })
  server.on('clientError', (error, socket) =>
    answerUnparsable(error, socket as Socket, { lingering, surfaces }),
  )
  return server
}

/** Whether a body follows: none, or one of no length, is all there already. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Whether a body's end can be found: no coding but `chunked` is spoken here. */
function isFramedAsWeKnow({ headers }: IncomingMessage): boolean {
  const coding = headers['transfer-encoding']
  return coding === undefined || coding.toLowerCase() === 'chunked'
}

function mayBeUpgraded(incoming: IncomingMessage): boolean {
  return isFramedAsWeKnow(incoming) && hasOneHost(incoming)
}

/** Two are joined by a comma, and refused by the adapter, as any host that is none; a WebSocket does not come by there. */
function hasOneHost({ headers }: IncomingMessage): boolean {
  return headers.host?.includes(',') !== true
}

/** On Node's response, so that errors, and what is sent past Hono, carry them too. */
function setHeaders(exchange: Exchange): void {
  for (const [name, value] of Object.entries(headersOf(exchange))) exchange.outgoing.setHeader(name, value)
}

/** Refuses a transfer coding that we do not know (RFC 9112 §6.1). */
function refuseCoding(exchange: Exchange): void {
  const { status, headers, body } = exchange.surface.error(
    new StorageError('UnknownTransferCoding'),
    exchange,
  )
  exchange.outgoing.writeHead(status, { ...headers, Connection: 'close' }).end(body)
}

/**
 * Gives up a connection on which a body has stalled, on either side; not one that waits for us. Who reads slowly is not
 * cut off as long as the kernel's buffer empties now and then, so that this is also the least that he has to read.
 */
function endWhenStalled(incoming: IncomingMessage, outgoing: ServerResponse, pace: BodyPace): void {
  outgoing.on('timeout', (socket: Socket) => {
    const { headersSent } = outgoing
    const { bytesRead, writableLength } = socket
    // If this process is late itself, it has not read yet what has come, nor heard of what has gone.
    setImmediate(() => {
      if (socket.bytesRead !== bytesRead || socket.writableLength !== writableLength) return
      if (!headersSent) pace.breakOff(incoming)
      else socket.destroy()
    })
  })
}

/** Listens, and tells where, such as `http://127.0.0.1:8209`. */
export function listen(server: NetServer, { host, port }: { host: string; port: number }): Promise<string> {
  return new Promise((done, failed) => {
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      const { port: actual } = server.address() as AddressInfo // it listens on TCP
      done(`http://${isIPv6(host) ? `[${host}]` : host}:${actual}`)
    })
  })
}

/**
 * Tries whether it could listen there. It is not held until there is something to answer with: who is let in earlier is told
 * to wait by what is no answer, and a balancer sends a request elsewhere only if nobody listens (decision 0032).
 *
 * @throws what `listen` would
 */
export async function tryToListen(at: { host: string; port: number }): Promise<void> {
  const server = new NetServer()
  await listen(server, at)
  await new Promise((resolve) => server.close(resolve))
}

/** Takes no new connections, lets running requests finish, and cuts off what is left after the limit. */
export async function drainServer(
  server: Server,
  connections: Connections,
  limitMs: number,
  logger: Logger,
): Promise<void> {
  // Not by HTTP's own `close`, which takes connections for idle whose answers are still on their way.
  const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()))
  connections.closeQuiet({ unused: false })
  const sweep = setInterval(() => connections.closeQuiet({ unused: true }), 50)
  const limit = setTimeout(() => {
    logger.warn({ limitMs }, 'requests were still running at the end of the shutdown limit')
    server.closeAllConnections()
  }, limitMs)
  await closed
  clearInterval(sweep)
  clearTimeout(limit)
  server.close() // ends what Node does for it besides
}
