import { randomUUID } from 'node:crypto'
import type { MiddlewareHandler } from 'hono'
import type { Logger } from 'pino'
import type { AppContext, Env } from './env.ts'
import { requestTarget } from './request-path.ts'

/** An id that a proxy in front may have given, so that its log and ours can be held together. */
const FOREIGN_ID = /^[\w.:-]{1,100}$/

/** A JWT where none belongs: in a path, say, by a client that has encoded the question mark before it. */
const TOKEN = /eyJ[\w-]+\.[\w-]+\.[\w-]+/g

/** For a request whose client went away before anything was sent (contract §1.6). */
const CLIENT_GONE = 499

/**
 * Gives each request an id, forbids browsers to guess types, and writes one line when its response is over,
 * however it ended. Never the query, which may carry a token, nor any header.
 */
export function requestLog(logger: Logger): MiddlewareHandler<Env> {
  return async (c, next) => {
    const { incoming, outgoing } = c.env
    const startedAt = performance.now()
    const sentId = incoming.headers['x-request-id']
    const requestId = typeof sentId === 'string' && FOREIGN_ID.test(sentId) ? sentId : randomUUID()
    c.set('requestId', requestId)
    const about: Env['Variables']['log'] = {}
    c.set('log', about)
    // On Node's response, so that what is sent past Hono carries them too.
    outgoing.setHeader('X-Request-Id', requestId)
    outgoing.setHeader('X-Content-Type-Options', 'nosniff')
    if (logger.isLevelEnabled('info')) {
      outgoing.once('close', () => {
        const aborted = !outgoing.writableFinished
        const { operation, bucket, path, size, user, role } = about
        logger.info(
          {
            requestId,
            method: incoming.method,
            // Only where there is no bucket: what a signed route carries in its path is named by bucket and path.
            url: bucket === undefined ? withoutTokens(requestTarget(incoming).path) : undefined,
            operation,
            bucket: withoutTokens(bucket),
            path: withoutTokens(path),
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
    }
    await next()
  }
}

/** Remembers for that line what the request is about; of two objects, the source. */
export function logTarget(c: AppContext, bucket: string, name?: string): void {
  const about = c.get('log')
  about.bucket = bucket
  if (name !== undefined) about.path = name
}

function withoutTokens(text: string | undefined): string | undefined {
  return text?.replace(TOKEN, '[hidden]')
}
