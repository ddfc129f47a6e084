import type { Hono } from 'hono'
import type { Span, Tracing } from '../../telemetry/tracing/tracing.ts'
import type { Env } from '../env.ts'
import { loggable } from '../message/loggable.ts'
import type { OnRequestEnd, RequestEnd } from '../request-end.ts'
import type { Exchange, RequestContext } from '../surface.ts'

type Fetch = (request: Request, exchange: Exchange) => Response | Promise<Response>

/**
 * A span for each request, from its first byte to its end, by the semantic conventions of HTTP
 * (https://opentelemetry.io/docs/specs/semconv/http/http-spans/). What a client has sent stands in it as it stands in the log:
 * never the query, nor a header. Not of questions about health, which balancers ask all the time.
 */
export class RequestTracing {
  readonly #tracing: Tracing
  readonly #router: Hono<Env>['router']
  readonly #spans = new WeakMap<RequestContext, Span>()

  constructor(tracing: Tracing, router: Hono<Env>['router']) {
    this.#tracing = tracing
    this.#router = router
  }

  /** The app, whose work is in the spans of its requests. */
  fetch(fetch: Fetch): Fetch {
    return (request, exchange) => {
      const span = this.#spanOf(exchange)
      return span ? this.#tracing.within(span, () => fetch(request, exchange)) : fetch(request, exchange)
    }
  }

  /** Those who hear of a request's end, each within its span, which ends behind them. */
  hearers(hearers: OnRequestEnd[]): OnRequestEnd[] {
    const within = (hear: OnRequestEnd): OnRequestEnd => {
      return (request, end) => {
        const span = this.#spanOf(request)
        if (span) this.#tracing.within(span, () => hear(request, end))
        else hear(request, end)
      }
    }
    return [...hearers.map(within), (request, end) => this.#end(request, end)]
  }

  /** Begun now, as of when the request came, for one that was answered before it came to the app. */
  #spanOf(request: RequestContext): Span | undefined {
    const { incoming, surface, target, startedAt } = request
    if (surface.isVital?.(target.path)) return undefined
    let span = this.#spans.get(request)
    if (!span) {
      const method = incoming.method ?? 'GET'
      const route = this.#routeOf(method, target.path)
      const name = route === undefined ? method : `${method} ${target.prefix}${route}`
      span = this.#tracing.serve(name, incoming.headers, startedAt)
      span.setAttributes({
        'http.request.method': method,
        'http.route': route && `${target.prefix}${route}`,
        'url.scheme': 'http',
        'network.protocol.version': incoming.httpVersion,
        'strongroom.protocol': surface.name,
        'strongroom.request_id': request.requestId,
      })
      request.traceparent = this.#tracing.traceparentOf(span)
      this.#spans.set(request, span)
    }
    return span
  }

  /** The route that answers, which is one of few, whatever a path is. */
  #routeOf(method: string, path: string): string | undefined {
    const [handlers] = this.#router.match(method === 'HEAD' ? 'GET' : method, path)
    const routes = handlers.map(([[, route]]) => route).filter((route) => route.path !== '/*')
    return (routes.find((route) => route.method !== 'ALL') ?? routes[0])?.path
  }

  #end(request: RequestContext, { status, aborted }: RequestEnd): void {
    const span = this.#spanOf(request)
    if (!span) return
    const { target, notes } = request
    const { operation, bucket, path, size, role, via, objectId, failure } = notes
    span.setAttributes({
      'http.response.status_code': status,
      'url.path': bucket === undefined ? loggable(target.sent) : undefined,
      'strongroom.operation': operation,
      'strongroom.bucket': loggable(bucket),
      'strongroom.path': loggable(path),
      'strongroom.object_id': objectId,
      'strongroom.size': size,
      'strongroom.role': role,
      'strongroom.via': via,
      'strongroom.aborted': aborted || undefined,
    })
    // In compat mode an answer has another status than its error (wire §1.6).
    this.#tracing.answered(span, { status: failure?.status ?? status, failure: failure?.code })
    this.#spans.delete(request)
  }
}
