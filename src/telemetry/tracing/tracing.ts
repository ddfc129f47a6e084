import { AsyncLocalStorage } from 'node:async_hooks'
import type { IncomingHttpHeaders } from 'node:http'
import {
  type Attributes,
  type Context,
  createTraceState,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { parseTraceParent } from '@opentelemetry/core'
import { StorageError } from '../../model/errors.ts'

export type { Attributes, Span }

/** A traceparent has 55 characters, and may have more in versions to come (https://www.w3.org/TR/trace-context/#versioning-of-traceparent). */
const MAX_TRACEPARENT = 128

/** What is longer need not be kept (https://www.w3.org/TR/trace-context/#tracestate-limits). In characters. */
const MAX_TRACESTATE = 512

/** What a span says of a place that it has called. */
export interface CallOptions {
  /** `client` for what is asked of another server; left out, it is a step of our own. */
  kind?: 'client' | undefined
  attributes?: Attributes | undefined
}

/** A request that waits for events may last for days, and ask the database for each. Further steps are not recorded. */
const MOST_STEPS = 1000

/** The span that code runs in, and how many steps its request may have yet. */
interface Running {
  span: Span
  room: { steps: number }
}

/** What the log says of a span. */
export interface SpanIds {
  trace_id: string
  span_id: string
}

/**
 * Spans, and which of them is the one that code runs in. There is none of these where nothing is traced: whoever has something
 * to say of a span is not there then, either.
 */
export class Tracing {
  readonly #tracer: Tracer
  readonly #running = new AsyncLocalStorage<Running>()

  /** Sends what has not been sent yet, for so long. Resolves with whether all of it has gone; never fails. */
  readonly close: () => Promise<boolean>

  constructor(tracer: Tracer, close: () => Promise<boolean>) {
    this.#tracer = tracer
    this.close = close
  }

  /**
   * Begins the span of a request, which goes on with the trace that its headers name, if they do.
   *
   * @param startedAt by `performance.now()`
   */
  serve(name: string, headers: IncomingHttpHeaders, startedAt: number): Span {
    const startTime = performance.timeOrigin + startedAt
    return this.#tracer.startSpan(name, { kind: SpanKind.SERVER, startTime }, contextOf(parentIn(headers)))
  }

  /**
   * Begins a span of what comes of something that was traced elsewhere, such as the delivery of an event.
   *
   * @param traceparent as that has left it; null begins a trace
   */
  follow(name: string, traceparent: string | null, attributes: Attributes): Span {
    const parent = traceparent === null ? null : parseTraceParent(traceparent)
    const context = contextOf(parent && { ...parent, isRemote: true })
    return this.#tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, context)
  }

  /** Runs `work` as a part of what a request's span is about. */
  within<T>(span: Span, work: () => T): T {
    return this.#running.run({ span, room: { steps: MOST_STEPS } }, work)
  }

  /**
   * Begins a span below the one that runs. Undefined when that is not recorded, or over: what outlives a request, such as a
   * timer that it was the first to need, is no part of it.
   */
  step(name: string, { kind, attributes }: CallOptions = {}): Span | undefined {
    const running = this.#running.getStore()
    if (!running?.span.isRecording() || running.room.steps <= 0) return undefined
    running.room.steps--
    const options = {
      kind: kind === 'client' ? SpanKind.CLIENT : SpanKind.INTERNAL,
      attributes: attributes ?? {},
    }
    return this.#tracer.startSpan(name, options, trace.setSpan(ROOT_CONTEXT, running.span))
  }

  /** Runs `work` as a step, which ends with it. */
  during<T>(name: string, options: CallOptions, work: () => T): T {
    const running = this.#running.getStore()
    const span = this.step(name, options)
    if (!running || !span) return work()
    try {
      const result = this.#running.run({ ...running, span }, work)
      if (result instanceof Promise) this.endsWith(span, result)
      else span.end()
      return result
    } catch (error) {
      endWith(span, error)
      throw error
    }
  }

  /** Calls another server as a step, which is told by the traceparent; undefined when nothing is recorded. */
  call<T>(
    name: string,
    attributes: Attributes,
    work: (traceparent: string | undefined) => Promise<T>,
  ): Promise<T> {
    const span = this.step(name, { kind: 'client', attributes })
    const result = work(span && this.traceparentOf(span))
    this.endsWith(span, result)
    return result
  }

  /** Ends a span, if there is one, when its work has ended, and with what has become of it. */
  endsWith(span: Span | undefined, work: Promise<unknown>): void {
    if (!span) return
    work.then(
      () => span.end(),
      (error) => endWith(span, error),
    )
  }

  /** Ends the span of a request. @param failure the code of what has gone wrong */
  answered(span: Span, { status, failure }: { status: number; failure: string | undefined }): void {
    if (status >= 400) span.setAttribute('error.type', failure ?? String(status))
    if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }

  /** Ends the span of a delivery. @param failure by which status, or other word, if it has failed */
  delivered(span: Span, failure: number | string | null): void {
    if (typeof failure === 'number') span.setAttribute('http.response.status_code', failure)
    if (failure !== null)
      span.setAttribute('error.type', String(failure)).setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }

  /** What another server is told of a span, so that it goes on with it (https://www.w3.org/TR/trace-context/#traceparent-header). */
  traceparentOf(span: Span): string {
    const { traceId, spanId, traceFlags } = span.spanContext()
    return `00-${traceId}-${spanId}-${traceFlags & TraceFlags.SAMPLED ? '01' : '00'}`
  }

  /** Of the span that runs, if there is one. */
  ids(): SpanIds | undefined {
    const context = this.#running.getStore()?.span.spanContext()
    return context && { trace_id: context.traceId, span_id: context.spanId }
  }
}

/** Ends a span whose work has failed. By a code alone: a sentence may have anything in it. */
function endWith(span: Span, error: unknown): void {
  span.setAttribute('error.type', kindOf(error))
  // A client's mistake is no failure of ours.
  if (!(error instanceof StorageError) || error.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
  span.end()
}

function kindOf(error: unknown): string {
  if (error instanceof StorageError) return error.code
  if (!(error instanceof Error)) return '_OTHER'
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}

function contextOf(parent: SpanContext | null): Context {
  return parent ? trace.setSpanContext(ROOT_CONTEXT, parent) : ROOT_CONTEXT
}

/** What a stranger says of his trace, as far as it can be one. */
function parentIn({ traceparent, tracestate }: IncomingHttpHeaders): SpanContext | null {
  if (typeof traceparent !== 'string' || traceparent.length > MAX_TRACEPARENT) return null
  const parent = parseTraceParent(traceparent)
  if (!parent) return null
  const hasState = typeof tracestate === 'string' && tracestate.length <= MAX_TRACESTATE
  return { ...parent, isRemote: true, ...(hasState && { traceState: createTraceState(tracestate) }) }
}
