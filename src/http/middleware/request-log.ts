import type { Logger } from 'pino'
import type { OnRequestEnd, RequestEnd } from '../request-end.ts'
import type { RequestContext, RequestNotes } from '../surface.ts'

/** In characters; no legal name is longer (wire §3.1). */
const MAX_LOGGED = 2048

/** In characters; a token may say anything of its user. */
const MAX_USER = 256

/**
 * A JWT where none belongs: in a path, say, by a client that has encoded the question mark before it. What stands
 * right before it, as of `%3D`, goes too: the search begins once in a word, not at each `eyJ` of it.
 */
const TOKEN = /(?<![\w-])(?=[\w-]*eyJ)[\w-]+\.[\w-]+\.[\w-]+/g

/** What signs a presigned URL of S3, where it has got into a path in the same way. */
const SIGNATURE = /(X-Amz-(?:Signature|Security-Token|Credential)(?:=|%3D))[^&/]+/gi

/** What may be the first part of one that was cut in two. */
const CUT_TOKEN = /(?<![\w.-])(?=[\w.-]*eyJ)[\w.-]+$/

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
    duration_ms: ms,
    ...(aborted && { aborted }),
  }
}

/** As the log may hold it: without tokens, and not too long. */
function loggable(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const shown = text.slice(0, MAX_LOGGED).replace(TOKEN, '[hidden]').replace(SIGNATURE, '$1[hidden]')
  return text.length > MAX_LOGGED ? `${shown.replace(CUT_TOKEN, '[hidden]')}…` : shown
}
