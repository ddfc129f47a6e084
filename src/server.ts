import { readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import { type AddressInfo, isIPv6, type Socket } from 'node:net'
import { resolve } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import type { Logger } from 'pino'
import type { Backend } from './backend/backend.ts'
import { LocalBackend } from './backend/local.ts'
import type { Config } from './config.ts'
import type { Database } from './database/client.ts'
import { connectDatabase } from './database/connect.ts'
import { StorageError, wireError } from './errors.ts'
import { createApp } from './http/app.ts'
import { Callers } from './http/caller.ts'
import { type Keys, loadKeys } from './keys.ts'
import { BucketStorage } from './storage/bucket-storage.ts'
import { FileStorage } from './storage/file-storage.ts'
import { ObjectLists } from './storage/object-lists.ts'
import { SignedUrls } from './storage/signed-urls.ts'

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:8209`. */
  url: string
  keys: Keys
  /** Finishes the running requests, up to the limit of the settings, then stops the database in order. */
  close(): Promise<void>
}

export interface ServerOptions {
  config: Config
  logger: Logger
  /** Something is lost that the server cannot go on without. */
  onFatal(error: Error): void
  /** Another database than the settings say, for tests. Closed with the server. */
  database?: Database
}

/** Room for a long path, a token with many claims, and user metadata in a header. In bytes. */
const MAX_HEADER_BYTES = 64 * 1024

/** A connection on which nothing moves for this long is given up. In milliseconds. */
const IDLE_MS = 120_000

/** The composition root: builds the parts, hands each what it needs, and starts to listen. */
export async function startServer({
  config,
  logger,
  onFatal,
  ...given
}: ServerOptions): Promise<RunningServer> {
  const dataDir = resolve(config.dataDir)
  await mkdir(dataDir, { recursive: true })
  const keys = await loadKeys(dataDir, { jwtSecret: config.jwt.secret, signingSecret: config.signingSecret })
  const backend = new LocalBackend({ root: dataDir, fsync: config.fsync })
  const database =
    given.database ??
    (await connectDatabase({
      databaseUrl: config.databaseUrl,
      dataDir,
      connections: config.databasePool,
      logger,
      onLost: onFatal,
    }))
  try {
    const server = createHttpServer(buildApp({ config, keys, backend, database, logger }).fetch)
    const url = await listen(server, config)
    return {
      url,
      keys,
      close: async () => {
        await drain(server, config.shutdownTimeoutMs, logger)
        await backend.close()
        await database.close()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}

interface Parts {
  config: Config
  keys: Keys
  backend: Backend
  database: Database
  logger: Logger
}

function buildApp({ config, keys, backend, database, logger }: Parts) {
  const now = () => new Date()
  const { maxFileSize, verifyReads } = config
  const nameRules = config.supabaseCompat ? 'supabase' : 'default'
  const files = new FileStorage({ database, backend, logger, maxFileSize, nameRules, verifyReads, now })
  const buckets = new BucketStorage({ database, backend, logger, maxFileSize })
  const previous = config.signingSecretPrevious
  const secrets: [string, ...string[]] = [keys.signingSecret, ...(previous === undefined ? [] : [previous])]
  const urls = new SignedUrls({ database, files, secrets, now })
  const callers = new Callers({ ...config.jwt, secret: keys.jwtSecret })
  const checks = {
    database: atMostOncePerSecond(async () => void (await database.sql`select 1`)),
    backend: atMostOncePerSecond(() => backend.check()),
  }
  const { userBuckets, supabaseCompat, corsOrigins, publicUrl, trustProxy } = config
  return createApp(
    {
      files,
      lists: new ObjectLists(database),
      buckets,
      urls,
      callers,
      checks,
      userBuckets,
      supabaseCompat,
      corsOrigins,
      publicUrl,
      trustProxy,
      version: packageVersion(),
    },
    logger,
  )
}

/** What `package.json` says, as `1.2.3`. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

function createHttpServer(fetch: ReturnType<typeof buildApp>['fetch']): Server {
  const listener = getRequestListener(fetch, {
    hostname: 'localhost', // for HTTP/1.0, which needs no Host: load balancers ask for health that way
    // Only what is no HTTP request at all gets here, such as an impossible Host header.
    errorHandler: (error) => rawError(error),
  })
  // Its type also knows HTTP/2, which we do not serve.
  const handle = listener as (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: 60_000,
      keepAliveTimeout: 65_000,
      requestTimeout: 0, // a large upload over a slow line takes hours; `timeout` below finds the dead ones
    },
    (incoming, outgoing) => void handle(escaped(incoming), watched(incoming, outgoing)),
  )
  server.timeout = IDLE_MS
  server.on('checkContinue', (incoming, outgoing) => {
    // A client that asks before it sends is told to go on by the first look at the body, that is, not if the
    // upload is refused (RFC 9110 §10.1.1).
    incoming.on('newListener', (event) => {
      if ((event === 'data' || event === 'readable') && !outgoing.headersSent) outgoing.writeContinue()
    })
    void handle(escaped(incoming), watched(incoming, outgoing))
  })
  server.on('clientError', (error, socket) => refuse(error, socket as Socket))
  return server
}

/** The newest request of each connection, and its response. */
const newest = new WeakMap<Socket, { incoming: IncomingMessage; outgoing: ServerResponse }>()

/** Gives up a connection on which a body has stalled, on either side; not one that waits for us to answer. */
function watched(incoming: IncomingMessage, outgoing: ServerResponse): ServerResponse {
  newest.set(incoming.socket, { incoming, outgoing })
  return outgoing.on('timeout', (socket: Socket) => {
    if (!incoming.complete || outgoing.headersSent) socket.destroy()
  })
}

/**
 * The adapter refuses a backslash in a target, and Node hands raw bytes on as Latin-1: percent-encoded, both are
 * what a client meant.
 */
function escaped(incoming: IncomingMessage): IncomingMessage {
  incoming.url = (incoming.url ?? '/').replace(
    /[^\x21-\x5b\x5d-\x7e]/g,
    (char) => `%${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
  return incoming
}

function rawError(cause: unknown): Response {
  const { http, body } = wireError(new StorageError('InvalidRequest', { cause }), false)
  return Response.json(body, { status: http, headers: { 'X-Content-Type-Options': 'nosniff' } })
}

/**
 * Answers bytes that Node's parser does not take for HTTP. There may be no request yet, so this is written by
 * hand; never into another response, whose reader would take it for a part of that.
 */
function refuse(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const { incoming, outgoing } = newest.get(socket) ?? {}
  if (incoming?.complete && outgoing?.writableFinished === false) {
    // It came behind a whole request, which gets its own answer first.
    newest.delete(socket)
    outgoing.once('finish', () => socket.writable && refuse(error, socket))
    return
  }
  // Within the body of a request that has been answered, or that still waits for the answers before it.
  if (outgoing?.writableFinished === false && (outgoing.headersSent || outgoing.socket !== socket)) {
    socket.destroy()
    return
  }
  const [status, message] = refusal(error)
  const label = STATUS_CODES[status] ?? 'Bad Request'
  const body = JSON.stringify({ statusCode: String(status), error: label, message, code: 'InvalidRequest' })
  socket.end(
    `HTTP/1.1 ${status} ${label}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n${body}`,
  )
}

function refusal({ code }: { code?: string }): [status: number, message: string] {
  if (code === 'HPE_HEADER_OVERFLOW') return [431, 'The request headers are too large']
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return [408, 'The request did not come in time']
  // Node takes no raw UTF-8 in a target, though some clients send it.
  if (code === 'HPE_INVALID_URL') return [400, 'The path of the request must be percent-encoded']
  return [400, 'The request is not valid HTTP']
}

function listen(server: Server, { host, port }: Config): Promise<string> {
  return new Promise((done, failed) => {
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      const { port: actual } = server.address() as AddressInfo // it listens on TCP
      done(`http://${isIPv6(host) ? `[${host}]` : host}:${actual}`)
    })
  })
}

/** Takes no new connections, lets running requests finish, and cuts off what is left after the limit. */
async function drain(server: Server, limitMs: number, logger: Logger): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // A connection that has finished its last request is not closed by itself when it is kept alive.
  const sweep = setInterval(() => server.closeIdleConnections(), 50)
  const limit = setTimeout(() => {
    logger.warn({ limitMs }, 'requests were still running at the end of the shutdown limit')
    server.closeAllConnections()
  }, limitMs)
  await closed
  clearInterval(sweep)
  clearTimeout(limit)
}

/** Health checks are open to anyone, and must not become work that anyone can cause. */
function atMostOncePerSecond(check: () => Promise<void>): () => Promise<void> {
  let last: { at: number; result: Promise<void> } | undefined
  return () => {
    if (!last || Date.now() - last.at > 1000) {
      const result = check()
      result.catch(() => {}) // told to whoever asks
      last = { at: Date.now(), result }
    }
    return last.result
  }
}
