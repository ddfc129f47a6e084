import { Hono } from 'hono'
import { requireCaller } from '../auth/caller.ts'
import type { AppContext, Env } from '../env.ts'
import { operation } from '../openapi/operation.ts'
import type { Services } from '../services.ts'
import { getHealth, getLiveness, getReadiness, getStatus, getVersion } from './operations/server.ts'

/** How long a part may take to answer before it counts as failing. In milliseconds. */
const CHECK_TIMEOUT_MS = 5000

/** Where they are; a balancer asks these. */
export const HEALTH_PATHS = new Set(['/status', '/version', '/health', '/health/live', '/health/ready'])

export function healthRoutes(services: Services) {
  async function health(c: AppContext) {
    const [database, backend] = await Promise.all([
      state(services.checks.database()),
      state(services.checks.backend()),
    ])
    const healthy = database === 'ok' && backend === 'ok'
    if (healthy) return c.json({ healthy, database, backend })
    return c.json({ healthy, database, backend }, 503, { 'Retry-After': '5' })
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

async function state(check: Promise<void>): Promise<'ok' | 'failing'> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<'failing'>((resolve) => {
    timer = setTimeout(() => resolve('failing'), CHECK_TIMEOUT_MS)
  })
  const answer = check.then(
    () => 'ok' as const,
    () => 'failing' as const,
  )
  return Promise.race([answer, late]).finally(() => clearTimeout(timer))
}
