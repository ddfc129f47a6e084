import type { Logger } from 'pino'
import { loggable } from '../message/loggable.ts'
import type { OnRequestEnd, RequestEnd } from '../request-end.ts'
import type { RequestContext, RequestNotes } from '../surface.ts'

/** In characters; a token may say anything of its user. */
const MAX_USER = 256

/**
 * Writes one line for each request, when it is over. Never the query, which may carry a token, nor any header. A WebSocket
 * has a line of its own, when it is closed.
 */
export class RequestLog {
  readonly #logger: Logger
  /** For what is answered from memory again and again: what every line says is put into words once. */
  readonly #repeated = new WeakMap<RequestNotes, Logger>()

  constructor(logger: Logger) {
    // Of what is named below nothing is secret, and to look for it costs as much as to write the line.
    this.#logger = logger.child({}, { redact: { paths: [] } })
  }

  readonly onRequestEnd: OnRequestEnd = (request, end) => {
    if (end.status === 101) return
    const { requestId } = request
    if (end.isRepeated) this.#lineOf(request, end).info({ requestId }, 'request')
    else this.#logger.info({ requestId, ...fields(request, end) }, 'request')
  }

  #lineOf(request: RequestContext, end: RequestEnd): Logger {
    let line = this.#repeated.get(request.notes)
    if (!line) {
      line = this.#logger.child(fields(request, end))
      this.#repeated.set(request.notes, line)
    }
    return line
  }
}

/** What a line says besides the request's id. */
function fields({ incoming, target, notes }: RequestContext, { status, ms, aborted }: RequestEnd) {
  const { operation, bucket, path, size, user, role } = notes
  return {
    method: incoming.method,
    // Only where there is no bucket: what a signed route carries in its path is named by bucket and path.
    url: bucket === undefined ? loggable(target.path) : undefined,
    operation,
    bucket: loggable(bucket),
    path: loggable(path),
    size,
    user_id: user?.slice(0, MAX_USER),
    role,
    status,
    code: notes.failure?.code,
    locked: notes.locked || undefined,
    duration_ms: ms,
    ...(aborted && { aborted }),
  }
}
