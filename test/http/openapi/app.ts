import pino from 'pino'
import { createApp } from '../../../src/http/app.ts'
import { metricsSurface } from '../../../src/http/metrics/surface.ts'
import { isWithSlash, type Route } from '../../../src/http/openapi/document.ts'
import { descriptionOf } from '../../../src/http/openapi/operation.ts'
import { restSurface } from '../../../src/http/rest/surface.ts'
import type { Services } from '../../../src/http/services.ts'
import { type Surface, Surfaces } from '../../../src/http/surface.ts'
import { tusSurface } from '../../../src/http/tus/surface.ts'
import { type Ground, startTestServer, type TestServer } from '../../support/server.ts'

/** The protocols of the server, by the functions that make them; the first three are in the document. */
export const SURFACES = ['metricsSurface', 'tusSurface', 'restSurface', 'realtimeSurface', 's3Surface']

const noMetrics = ({ tokens }: Services) => ({ scrape: async () => '', tokens, token: undefined })

export interface Documented {
  server: TestServer
  services: Services
  /** All that the document is to tell of: what is not S3's, nor Realtime's. */
  routes: Route[]
}

/** @param others protocols that are spoken there besides */
export async function startDocumented(
  env: Record<string, string> = {},
  { others = [], ...ground }: Omit<Ground, 'extensions'> & { others?: Surface[] } = {},
): Promise<Documented> {
  let services: Services | undefined
  const surfaces = (ofServer: Services) => {
    services = ofServer
    return others
  }
  const server = await startTestServer(env, { ...ground, extensions: { surfaces } })
  if (!services) throw new Error('the server has no services')
  const logger = pino({ enabled: false })
  const { routes } = createApp(
    services,
    new Surfaces(
      [metricsSurface(noMetrics(services)), tusSurface(services, logger), restSurface(services, logger)],
      '',
    ),
    logger,
  )
  return { server, services, routes: routes.filter(({ method }) => method !== 'ALL') }
}

/** Routes that say nothing of themselves, but for those that are another's with a slash. */
export function undescribed(routes: Route[]): string[] {
  return routes
    .filter((route) => !descriptionOf(route.handler) && !isWithSlash(routes, route))
    .map(({ method, path }) => `${method} ${path}`)
}
