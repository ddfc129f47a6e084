import { Hono } from 'hono'
import type { Logger } from 'pino'
import { StorageError } from '../model/errors.ts'
import type { AppContext, Env } from './env.ts'
import { answerInLines } from './message/json-lines.ts'
import { requestTarget } from './message/request-path.ts'
import { admission } from './middleware/admission.ts'
import { Cors } from './middleware/cors.ts'
import { errorResponse } from './middleware/error-response.ts'
import { RequestLog } from './middleware/request-log.ts'
import { realtimeRoutes } from './realtime/routes.ts'
import { bucketRoutes } from './rest/bucket.ts'
import { eventRoutes } from './rest/events.ts'
import { healthRoutes } from './rest/health.ts'
import { homeRoutes } from './rest/home.ts'
import { HotGet } from './rest/hot-get.ts'
import { listRoutes } from './rest/list.ts'
import { objectRoutes } from './rest/object.ts'
import { signRoutes } from './rest/sign.ts'
import { webhookRoutes } from './rest/webhook.ts'
import type { Services } from './services.ts'
import { isTusPath, tusError, tusHeaders } from './tus/protocol.ts'
import { resumableRoutes } from './tus/routes.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

export interface App {
  fetch: Hono<Env>['fetch']
  /** Comes before `fetch`, which is not needed if it returns true. */
  hotGet: Pick<HotGet, 'answer'>
}

/** Middleware in order, the routes, and the renderer of errors. */
export function createApp(services: Services, logger: Logger): App {
  const requestLog = new RequestLog(logger)
  const cors = new Cors(services.corsOrigins)
  const app = new Hono<Env>({
    // Routes see the path as it was sent, without the public prefix; decoding is theirs. Only our own adapter
    // calls the app, so the bindings are there.
    getPath: (_request, options) => requestTarget((options as { env: Env['Bindings'] }).env.incoming).path,
  })

  app.use((c, next) => {
    if (!services.supabaseCompat) answerInLines(c) // where bodies are Supabase's to the last byte
    return requestLog.middleware(c, next)
  })
  app.use(tusHeaders(services)) // before the next one, which answers OPTIONS
  app.use(cors.middleware)
  // Behind those whose headers a refusal needs, too.
  const { connections, maxRequests: most, minUploadRate: minRate } = services
  const refuse = (c: AppContext, error: unknown) => {
    const { incoming } = c.env
    if (!isTusPath(requestTarget(incoming).path)) throw error // told by `onError`
    return tusError(c, error, logger, incoming.method === 'HEAD')
  }
  app.use(admission({ connections, most, minRate }, refuse))

  app.route('/', homeRoutes(services))
  app.route('/', healthRoutes(services))
  app.route('/', bucketRoutes(services))
  // Fixed words win over bucket names (wire §3.2), so the routes with the most of them stand first.
  app.route('/', listRoutes(services))
  app.route('/', signRoutes(services))
  app.route('/', objectRoutes(services))
  app.route('/', resumableRoutes(services, logger))
  app.route('/', eventRoutes(services, logger))
  app.route('/', realtimeRoutes())
  app.route('/', webhookRoutes(services))

  app.notFound((c) => {
    const { method, path } = c.req
    const allowed = METHODS.filter((other) => hasRoute(app, other === 'HEAD' ? 'GET' : other, path))
    if (allowed.length === 0) {
      throw new StorageError('NoSuchRoute', { message: `There is no route ${method} ${path}` })
    }
    const allow = [...allowed, 'OPTIONS'].join(', ')
    throw new StorageError('MethodNotAllowed', { headers: { Allow: allow } })
  })
  app.onError((error, c) => errorResponse(c, error, logger, services.supabaseCompat))
  return { fetch: app.fetch, hotGet: new HotGet({ files: services.files, requestLog, cors }) }
}

/** Whether a route, and not only middleware, answers this. */
function hasRoute(app: Hono<Env>, method: string, path: string): boolean {
  const [handlers] = app.router.match(method, path)
  return handlers.some(([[, route]]) => route.method !== 'ALL')
}
