import { Hono } from 'hono'
import { z } from 'zod'
import { StorageError } from '../../model/errors.ts'
import { type Scrape, TEXT_TYPE } from '../../telemetry/metrics/exposition.ts'
import type { TokenVerifier } from '../auth/token-verifier.ts'
import type { Env } from '../env.ts'
import { jsonError } from '../message/json-error.ts'
import { type Describe, operation } from '../openapi/operation.ts'
import type { Surface } from '../surface.ts'
import { secretCheck } from './secret-check.ts'

export const METRICS_PATH = '/metrics'

export interface MetricsSurfaceOptions {
  scrape: Scrape
  tokens: TokenVerifier
  /** STORAGE_METRICS_TOKEN: who has it may read metrics, and nothing else. */
  token: string | undefined
}

const getMetrics: Describe = () => ({
  id: 'getMetrics',
  tag: 'Server',
  summary: 'What Prometheus reads',
  description: 'For the service key, or STORAGE_METRICS_TOKEN as a bearer token.',
  access: 'service',
  needs: 'nothing',
  answers: {
    200: {
      description: "Prometheus's text format.",
      content: { 'text/plain': z.string() },
      headers: ['Cache-Control'],
    },
  },
  say: (code) => jsonError(new StorageError(code), undefined, false),
})

/**
 * What Prometheus reads: for who has its token, or the service key. It speaks plain HTTP whatever Supabase's clients expect
 * elsewhere, and is answered however busy the server is: that is when somebody looks.
 */
export function metricsSurface({ scrape, tokens, token }: MetricsSurfaceOptions): Surface {
  const isToken = secretCheck(token)
  return {
    name: 'metrics',
    prefix: METRICS_PATH,
    routes: new Hono<Env>().get(
      METRICS_PATH,
      operation(getMetrics, async (c) => {
        const { notes, surface, incoming } = c.env
        notes.operation = 'storage.metrics'
        if (!isToken(incoming.headers.authorization)) {
          const identity = await surface.authenticate(c.env)
          if (!identity) throw new StorageError('AuthenticationRequired')
          notes.user = identity.subject
          notes.role = identity.role
          if (identity.role !== 'service_role') throw new StorageError('RoleNotAllowed')
        }
        return c.body(await scrape(), 200, { 'Content-Type': TEXT_TYPE, 'Cache-Control': 'no-store' })
      }),
    ),
    authenticate: (request, headers = request.incoming.headers) => tokens.identify(headers),
    error: (error, request) => jsonError(error, request, false),
    isVital: (path) => path === METRICS_PATH,
  }
}
