import { Hono } from 'hono'
import type { Logger } from 'pino'
import { StorageError } from '../model/errors.ts'
import type { Env } from './env.ts'
import { answerInLines } from './message/json-lines.ts'
import { admission } from './middleware/admission.ts'
import { errorResponse } from './middleware/error-response.ts'
import { documentationRoutes } from './rest/documentation.ts'
import { RouteTable } from './route-table.ts'
import type { Services } from './services.ts'
import type { Surfaces } from './surface.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/** Middleware in order, the routes of all surfaces, and what is no route. */
export function createApp(services: Services, surfaces: Surfaces, logger: Logger): Hono<Env> {
  const { cors, connections, requests, supabaseCompat } = services
  const app = new Hono<Env>({
    router: new RouteTable(),
    // Routes see the path as it was sent, without the public prefix; decoding is theirs. Only the server calls the
    // app, so the bindings are there.
    getPath: (_request, options) => (options as { env: Env['Bindings'] }).env.target.path,
  })

  app.use((c, next) => {
    if (!supabaseCompat) answerInLines(c) // where bodies are Supabase's to the last byte
    return cors.middleware(c, next)
  })
  // Behind the one whose headers a refusal needs, too.
  app.use(admission(connections, requests))
  for (const { routes } of surfaces.all) app.route('/', routes)
  if (services.documentation) app.route('/', documentationRoutes(services, app.routes))

  app.notFound((c) => {
    const { method, path } = c.req
    const allowed = METHODS.filter((other) => hasRoute(app, other === 'HEAD' ? 'GET' : other, path))
    if (allowed.length === 0) {
      throw new StorageError('NoSuchRoute', { message: `There is no route ${method} ${path}` })
    }
    const allow = [...allowed, 'OPTIONS'].join(', ')
    throw new StorageError('MethodNotAllowed', { headers: { Allow: allow } })
  })
  app.onError((error, c) => errorResponse(c, error, logger))
  return app
}

/** Whether a route, and not only middleware, answers this. */
function hasRoute(app: Hono<Env>, method: string, path: string): boolean {
  const [handlers] = app.router.match(method, path)
  return handlers.some(([[, route]]) => route.method !== 'ALL')
}
