import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { Env, RequestNotes } from '../env.ts'
import { requestTarget } from '../message/request-path.ts'

/** An id that a proxy in front may have given, so that its log and ours can be held together. */
const FOREIGN_ID = /^[\w.:-]{1,100}$/

/** In characters; no legal name is longer (wire §3.1). */
const MAX_LOGGED = 2048

/**
 * A JWT where none belongs: in a path, say, by a client that has encoded the question mark before it. What stands
 * right before it, as of `%3D`, goes too: the search begins once in a word, not at each `eyJ` of it.
 */
const TOKEN = /(?<![\w-])(?=[\w-]*eyJ)[\w-]+\.[\w-]+\.[\w-]+/g

/** What may be the first part of one that was cut in two. */
const CUT_TOKEN = /(?<![\w.-])(?=[\w.-]*eyJ)[\w.-]+$/

/** For a request whose client went away before anything was sent (wire §1.6). */
const CLIENT_GONE = 499

/**
 * Gives each request an id, forbids browsers to guess types, and writes one line when its response is over,
 * however it ended. Never the query, which may carry a token, nor any header.
 */
export class RequestLog {
  readonly #logger: Logger

  constructor(logger: Logger) {
    // Of what is named below nothing is secret, and to look for it costs as much as to write the line.
    this.#logger = logger.child({}, { redact: { paths: [] } })
  }

  readonly middleware: MiddlewareHandler<Env> = (c, next) => {
    const { incoming, outgoing } = c.env
    const about: RequestNotes = {}
    const requestId = this.#begin(incoming, outgoing as ServerResponse, about)
    c.set('log', about)
    c.set('requestId', requestId)
    // On Node's response, so that what is sent past Hono carries them too.
    outgoing.setHeader('X-Request-Id', requestId)
    outgoing.setHeader('X-Content-Type-Options', 'nosniff')
    return next()
  }

  /**
   * For what is answered from memory again and again: what every line says is put into words once.
   *
   * @returns writes the line of one such request
   */
  repeated(about: RequestNotes & { method: string; status: number }): (requestId: string) => void {
    const { method, bucket, path, status, ...others } = about
    const ofAll = { method, ...others, bucket: loggable(bucket), path: loggable(path), status, ms: 0 }
    const logger = this.#logger.child(ofAll)
    return (requestId) => logger.info({ requestId }, 'request')
  }

  /**
   * Notes when a request begins, and writes its line when its response is over.
   *
   * @param about may be added to until then
   * @returns the request's id, for its headers
   */
  #begin(incoming: IncomingMessage, outgoing: ServerResponse, about: RequestNotes): string {
    const startedAt = performance.now()
    const requestId = requestIdOf(incoming)
    if (!this.#logger.isLevelEnabled('info')) return requestId
    outgoing.once('close', () => {
      const aborted = !outgoing.writableFinished
      const { operation, bucket, path, size, user, role } = about
      this.#logger.info(
        {
          requestId,
          method: incoming.method,
          // Only where there is no bucket: what a signed route carries in its path is named by bucket and path.
          url: bucket === undefined ? loggable(requestTarget(incoming).path) : undefined,
          operation,
          bucket: loggable(bucket),
          path: loggable(path),
          size,
          user: user ?? undefined,
          role,
          status: aborted && !outgoing.headersSent ? CLIENT_GONE : outgoing.statusCode,
          ms: Math.round((performance.now() - startedAt) * 10) / 10,
          ...(aborted && { aborted }),
        },
        'request',
      )
    })
    return requestId
  }
}

/** The id that a proxy has given, or a new one. */
export function requestIdOf(incoming: IncomingMessage): string {
  const sent = incoming.headers['x-request-id']
  return typeof sent === 'string' && FOREIGN_ID.test(sent) ? sent : randomUUID()
}

/** As the log may hold it: without tokens, and not too long. */
function loggable(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const shown = text.slice(0, MAX_LOGGED).replace(TOKEN, '[hidden]')
  return text.length > MAX_LOGGED ? `${shown.replace(CUT_TOKEN, '[hidden]')}…` : shown
}
