import { Hono } from 'hono'
import type { PartHealth } from '../../model/part-health.ts'
import { SERVICE_NAME } from '../../model/service-name.ts'
import { optionalCaller, requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import {
  getDetailedHealth,
  getHealth,
  getLiveness,
  getReadiness,
  getStatus,
  getVersion,
} from './operations/server.ts'

/** When those that have asked should ask again. In seconds. */
const RETRY_SECONDS = '5'

/** Where they are; a balancer asks these. */
export const HEALTH_PATHS = new Set([
  '/status',
  '/version',
  '/health',
  '/health/live',
  '/health/ready',
  '/health/detailed',
])

export function healthRoutes(services: Services) {
  const { health: parts } = services

  async function health(c: AppContext) {
    const [database, storage] = await Promise.all([parts.database(), parts.storage()])
    const healthy = isHealthy(database) && isHealthy(storage)
    const body = { healthy, database: stateOf(database), backend: stateOf(storage) }
    return healthy ? c.json(body) : c.json(body, 503, { 'Retry-After': RETRY_SECONDS })
  }

  /** Who sends no token has no limits: a check of health is not refused. One that does not hold is as good as none. */
  async function isService(c: AppContext): Promise<boolean> {
    const { authorization, apikey } = c.env.incoming.headers
    if (authorization === undefined && apikey === undefined) return false
    const { caller } = await optionalCaller(c, services, 'storage.health.read')
    return caller.role === 'service_role'
  }

  async function detailedHealth(c: AppContext) {
    const showsAll = await isService(c)
    const [database, storage, others] = await Promise.all([parts.database(), parts.storage(), parts.others()])
    const checks = { database, storage, ...others }
    const status = worst(Object.values(checks))
    const body = {
      status,
      database_connected: isHealthy(database),
      storage_connected: isHealthy(storage),
      timestamp: new Date().toISOString(),
      ...(showsAll && {
        service: SERVICE_NAME,
        version: services.version,
        uptime_seconds: Math.floor(process.uptime()),
        checks: Object.fromEntries(Object.entries(checks).map(([part, one]) => [part, checkJson(one)])),
      }),
    }
    c.header('Cache-Control', 'no-store')
    return status === 'unhealthy' ? c.json(body, 503, { 'Retry-After': RETRY_SECONDS }) : c.json(body)
  }

  return new Hono<Env>()
    .get(
      '/status',
      operation(getStatus, (c) => c.body(null, 200)),
    )
    .get(
      '/version',
      operation(getVersion, (c) => c.text(services.version)),
    )
    .get(
      '/health',
      operation(getHealth, async (c) => {
        if (!services.supabaseCompat) return health(c)
        // The original wants a token and says 200 either way (wire §11).
        await requireCaller(c, services, 'storage.health', 'TokenRequired')
        const response = await health(c)
        return c.json({ healthy: response.status === 200 })
      }),
    )
    .get('/health/detailed', operation(getDetailedHealth, detailedHealth))
    .get(
      '/health/live',
      operation(getLiveness, (c) => c.json({ alive: true })),
    )
    .get(
      '/health/ready',
      operation(getReadiness, async (c) => {
        if (!services.connections.areLeaving) return health(c)
        return c.json({ healthy: false, stopping: true }, 503)
      }),
    )
}

function isHealthy({ status }: PartHealth): boolean {
  return status === 'healthy'
}

function stateOf(part: PartHealth): 'ok' | 'failing' {
  return isHealthy(part) ? 'ok' : 'failing'
}

function worst(parts: PartHealth[]): PartHealth['status'] {
  const statuses = parts.map(({ status }) => status)
  return (['unhealthy', 'degraded'] as const).find((bad) => statuses.includes(bad)) ?? 'healthy'
}

function checkJson({ status, latencyMs, message }: PartHealth) {
  return { status, latency_ms: latencyMs, message }
}
