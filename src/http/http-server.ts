import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6, Server as NetServer, type Socket } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import type { Logger } from 'pino'
import type { Limits } from '../config/limits.ts'
import { StorageError, wireError } from '../model/errors.ts'
import type { App } from './app.ts'
import { BodyPace } from './connection/body-pace.ts'
import type { Connections } from './connection/connections.ts'
import { LINGERING_LIMITS, Lingering } from './connection/lingering.ts'
import { inTurn, newestOn, unansweredOn } from './connection/pipeline.ts'
import { jsonLine } from './message/json-lines.ts'
import { rawAnswer } from './message/raw-answer.ts'
import type { Realtime } from './realtime/realtime.ts'
import { isUpgradeToRealtime } from './realtime/upgrade.ts'

type FetchCallback = Parameters<typeof getRequestListener>[0]

/** Room for a long path, a token with many claims, and user metadata in a header. In bytes. */
const MAX_HEADER_BYTES = 64 * 1024

/** Node looks for headers that are late so often, at the least. In milliseconds. */
const LONGEST_LOOK_MS = 30_000

/** A machine without a free file descriptor says so for each connection that asks. In milliseconds. */
const ACCEPT_WARNING_MS = 10_000

/** Of a response's end; `pipeline` alone has half a dozen. More would be a leak. */
const MOST_LISTENERS = 20

export interface HttpServerOptions {
  fetch: FetchCallback
  /** Has the first look at each request. */
  hotGet: App['hotGet']
  /** Takes those who ask for its WebSocket. */
  realtime: Pick<Realtime, 'upgrade'>
  supabaseCompat: boolean
  connections: Connections
  limits: Pick<Limits, 'requestMs' | 'idleMs' | 'minUploadRate'>
  logger: Logger
}

/** A server that hands its requests to the app; it answers by itself what is no request at all. */
export function createHttpServer(options: HttpServerOptions): Server {
  const { fetch, hotGet, realtime, supabaseCompat, connections, logger } = options
  const { requestMs, idleMs, minUploadRate } = options.limits
  const pace = new BodyPace({ windowMs: idleMs, minRate: minUploadRate, requestMs })
  const lingering = new Lingering(LINGERING_LIMITS)
  const listener = getRequestListener(fetch, {
    autoCleanupIncoming: false, // `lingering` does that, and takes longer about it
    hostname: 'localhost', // for HTTP/1.0, which needs no Host: load balancers ask for health that way
    // Only what is no HTTP request at all gets here, such as an impossible Host header.
    errorHandler: (cause) => rawError(cause, supabaseCompat),
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
    if (connections.isQuiet(incoming.socket) && hotGet.answer(incoming, outgoing)) return
    outgoing.setMaxListeners(MOST_LISTENERS)
    // Nobody would hear the answer of what comes behind the last one.
    if (!incoming.socket.writable || !connections.begin(incoming.socket, outgoing)) return
    lingering.watch(incoming, outgoing)
    endWhenStalled(incoming, outgoing, pace)
    inTurn(incoming, outgoing, () => {
      if (!isFramedAsWeKnow(incoming)) return refuseCoding(outgoing, supabaseCompat)
      pace.watch(incoming, outgoing)
      void handle(escaped(incoming), outgoing)
    })
  }
  server.timeout = idleMs
  server.maxConnections = connections.dropFrom
  // Their size is limited, not their number: Node 20 would leave out those past a thousand, without a word.
  server.maxHeadersCount = 0
  server.on('checkContinue', (incoming, outgoing) => {
    // A client that asks before it sends is told to go on by the first look at the body, that is, not if the
    // upload is refused (RFC 9110 §10.1.1). Nobody knows then whether the body will come or the next request.
    const { shouldKeepAlive } = outgoing
    outgoing.shouldKeepAlive = false
    incoming.on('newListener', (event) => {
      if ((event === 'data' || event === 'readable') && !outgoing.headersSent) {
        outgoing.shouldKeepAlive = shouldKeepAlive
        outgoing.writeContinue()
      }
    })
    answer(incoming, outgoing)
  })
  server.on('connection', (socket: Socket) => connections.add(socket))
  server.on('upgrade', (incoming, stream, head) => {
    const socket = stream as Socket // of this server
    if (unansweredOn(socket)) {
      socket.destroy() // what it is to become would be mixed with the answer that it still owes
    } else if (!connections.isSurplus(socket) && isWebSocket(incoming)) {
      connections.keep(socket)
      void realtime.upgrade(incoming, socket, head)
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
  server.on('clientError', (error, socket) => refuse(error, socket as Socket, { lingering, supabaseCompat }))
  return server
}

/** Whether a body's end can be found: no coding but `chunked` is spoken here. */
function isFramedAsWeKnow({ headers }: IncomingMessage): boolean {
  const coding = headers['transfer-encoding']
  return coding === undefined || coding.toLowerCase() === 'chunked'
}

/** Whether it becomes one, or is answered as any other request. */
function isWebSocket(incoming: IncomingMessage): boolean {
  return isUpgradeToRealtime(incoming) && isFramedAsWeKnow(incoming) && hasOneHost(incoming)
}

/** Two are joined by a comma, and refused by the adapter, as any host that is none; a WebSocket does not come by there. */
function hasOneHost({ headers }: IncomingMessage): boolean {
  return headers.host?.includes(',') !== true
}

/** Refuses a transfer coding that we do not know (RFC 9112 §6.1). */
function refuseCoding(outgoing: ServerResponse, compat: boolean): void {
  const { http, body } = wireError(new StorageError('UnknownTransferCoding'), compat)
  outgoing.writeHead(http, { 'Content-Type': 'application/json', ...ALWAYS, Connection: 'close' })
  outgoing.end(jsonLine(body))
}

const ALWAYS = { 'X-Content-Type-Options': 'nosniff' }

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

/** The adapter refuses a backslash in a target, which may well be part of a name. */
function escaped(incoming: IncomingMessage): IncomingMessage {
  incoming.url = incoming.url?.replaceAll('\\', '%5c')
  return incoming
}

/**
 * Serves a request as if it had not asked for another protocol, as it has to be with those that are not spoken here
 * (RFC 9110 §7.8): some clients ask for HTTP/2 with every first request. Node, once it knows of upgrades, hands us all
 * of them with what is left of the connection; so the request is put before that again, and read anew.
 */
function goOnWithout(server: Server, incoming: IncomingMessage, socket: Socket, head: Buffer): void {
  const { method, url, httpVersion, rawHeaders } = incoming
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2)
    if (name.toLowerCase() === 'upgrade') continue
    lines.push(`${name}: ${name.toLowerCase() === 'connection' ? withoutUpgrade(value) : value}`)
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}

/** The other options of a connection. */
function withoutUpgrade(options: string): string {
  return options
    .split(',')
    .filter((option) => option.trim().toLowerCase() !== 'upgrade')
    .join(',')
}

function rawError(cause: unknown, compat: boolean): Response {
  const { http, body } = wireError(new StorageError('InvalidRequest', { cause }), compat)
  return new Response(jsonLine(body), {
    status: http,
    headers: { 'Content-Type': 'application/json', ...ALWAYS },
  })
}

/**
 * Answers bytes that Node's parser does not take for HTTP. There may be no request yet, so this is written by
 * hand; never into another response, whose reader would take it for a part of that.
 */
function refuse(
  error: Error & { code?: string },
  socket: Socket,
  parts: { lingering: Lingering; supabaseCompat: boolean },
): void {
  const { lingering, supabaseCompat } = parts
  // It has been said that the connection is of no more use, and what comes is dropped.
  if (lingering.has(socket) && !socket.readableEnded && error.code !== 'ECONNRESET') {
    socket.end()
    return
  }
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const newest = newestOn(socket)
  if (newest && !newest.incoming.complete) {
    const { outgoing } = newest
    // It is within the body of a request that has been answered, or is being, or waits for the answers before it.
    if (outgoing.writableEnded) socket.destroySoon()
    else if (outgoing.headersSent || outgoing.socket !== socket) socket.destroy()
    else sayLast()
    return
  }
  const running = unansweredOn(socket)
  if (!running) sayLast()
  else if (!running.isFollowed) {
    // It came behind a whole request, which gets its own answer first.
    running.outgoing.once('finish', () => socket.writable && refuse(error, socket, parts))
    running.isFollowed = true
  }

  function sayLast(): void {
    socket.end(rawAnswer(refusal(error), supabaseCompat))
    lingering.begin(socket)
  }
}

function refusal(cause: Error & { code?: string }): StorageError {
  switch (cause.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new StorageError('HeadersTooLarge', { cause })
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new StorageError('RequestTimeout', { cause })
    case 'HPE_INVALID_TRANSFER_ENCODING': // RFC 9112 §6.1, §6.3
      return new StorageError(isAboutLength(cause) ? 'NotHttp' : 'UnknownTransferCoding', { cause })
    case 'HPE_INVALID_URL': // Node takes no raw UTF-8 in a target, though some clients send it.
      return new StorageError('NotHttp', {
        cause,
        message: 'The path of the request must be percent-encoded',
      })
    default:
      return new StorageError('NotHttp', { cause })
  }
}

/** Whether it is one beside a length that the parser refuses, and not the coding. */
function isAboutLength(cause: Error & { reason?: string }): boolean {
  return cause.reason?.includes('Content-Length') ?? false
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
