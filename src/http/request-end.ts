import type { Logger } from 'pino'
import type { Exchange, RequestContext } from './surface.ts'

/** How a request has ended. */
export interface RequestEnd {
  /** As it was sent; CLIENT_GONE if nothing was; 101 for one whose connection is a WebSocket now. */
  status: number
  /** Since it came, in milliseconds. */
  ms: number
  /** Whether its client went away before it had all of the answer. */
  aborted: boolean
  /** Whether it was answered from memory: then its notes are the same object each time, and say all but its id. */
  isRepeated: boolean
}

/** Hears of each request once, when it is over, however it has ended. */
export type OnRequestEnd = (request: RequestContext, end: RequestEnd) => void

/** For a request whose client went away before anything was sent (wire §1.6). */
const CLIENT_GONE = 499

/** Not measured: that would take as long as the answer. */
const AT_ONCE: RequestEnd = { status: 200, ms: 0, aborted: false, isRepeated: true }

/** Tells those who want to know that a request is over: the log, and others to come. */
export class RequestEnds {
  readonly #hearers: OnRequestEnd[]
  readonly #logger: Logger

  constructor(hearers: OnRequestEnd[], logger: Logger) {
    this.#hearers = hearers
    this.#logger = logger
  }

  /** Tells of it when its response is over. */
  watch(exchange: Exchange): void {
    if (this.#hearers.length === 0) return
    const { outgoing } = exchange
    outgoing.once('close', () => {
      const { rawStatus } = exchange
      const aborted = !outgoing.writableFinished && rawStatus === undefined
      const status = rawStatus ?? (aborted && !outgoing.headersSent ? CLIENT_GONE : outgoing.statusCode)
      this.#tell(exchange, { status, ms: since(exchange), aborted, isRepeated: false })
    })
  }

  /** Tells of one that was answered before routing. */
  answeredAtOnce(exchange: Exchange): void {
    this.#tell(exchange, AT_ONCE)
  }

  /** Tells of one that asked for another protocol, before its connection is closed: it has no response object. */
  answered(request: RequestContext, status: number): void {
    const aborted = request.incoming.socket.destroyed
    this.#tell(request, {
      status: aborted ? CLIENT_GONE : status,
      ms: since(request),
      aborted,
      isRepeated: false,
    })
  }

  #tell(request: RequestContext, end: RequestEnd): void {
    for (const hear of this.#hearers) {
      try {
        hear(request, end)
      } catch (error) {
        // Out of an event's listener it would end the process.
        this.#logger.error({ err: error, requestId: request.requestId }, 'the end of a request was not heard')
      }
    }
  }
}

/** In milliseconds, to a tenth. */
function since({ startedAt }: RequestContext): number {
  return Math.round((performance.now() - startedAt) * 10) / 10
}
