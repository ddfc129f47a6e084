import type { IncomingHttpHeaders } from 'node:http'
import type { Access, Caller, Identity } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import type { AppContext } from '../env.ts'
import type { RateLimits } from './rate-limits.ts'
import { clientOf } from './share-of.ts'

/** What is told of a caller besides who it is. */
interface CallerSettings {
  /** Whether signed-in users may create buckets. */
  userBuckets: boolean
  /** Undefined where there are none. */
  rates: RateLimits | undefined
}

/**
 * The caller of a route that needs a token.
 *
 * @param missing what to say when there is none; the two differ in Supabase's wire alone
 * @param headers where the token is looked for, if not where it came
 * @throws AuthenticationRequired, TokenRequired, InvalidToken, AccessDenied, SlowDown
 */
export async function requireCaller(
  c: AppContext,
  settings: CallerSettings,
  operation: string,
  missing: 'AuthenticationRequired' | 'TokenRequired' = 'AuthenticationRequired',
  headers?: IncomingHttpHeaders,
): Promise<Caller> {
  const identity = await authenticate(c, operation, headers).catch((error: unknown) => {
    settings.rates?.count(c.env, null, operation)
    throw error
  })
  if (identity) return callerOf(c, settings, identity, operation)
  settings.rates?.count(c.env, null, operation)
  throw new StorageError(missing)
}

/**
 * The caller of a route that reads without a token too, and how far the token reaches: no token, or one that
 * does not hold, opens public buckets only (wire §1.4, §3.4).
 *
 * @throws SlowDown
 */
export async function optionalCaller(
  c: AppContext,
  settings: CallerSettings,
  operation: string,
): Promise<{ caller: Caller; access: Access }> {
  const identity = await authenticate(c, operation).catch((error: unknown) => {
    const isRefused = error instanceof StorageError && error.status < 500
    if (!isRefused) throw error
    return null
  })
  if (!identity) return { caller: anonymousCaller(c, settings, operation), access: 'public' }
  return { caller: callerOf(c, settings, identity, operation), access: 'caller' }
}

/** In whose name a question waits for its turn: a user's, that of where it comes from, or the service's. */
export function askerOf(c: AppContext, { trustProxy }: { trustProxy: boolean }, caller: Caller): string {
  return clientOf(c.env, caller, trustProxy) ?? 'the service'
}

/** The caller of a route that asks for no token. @throws SlowDown */
export function anonymousCaller(c: AppContext, settings: CallerSettings, operation: string): Caller {
  return callerOf(c, settings, ANONYMOUS, operation)
}

export const ANONYMOUS: Identity = { role: 'anon', subject: null, claims: { role: 'anon' }, token: '' }

/** The step that the request's surface knows how to do. */
function authenticate(
  c: AppContext,
  operation: string,
  headers?: IncomingHttpHeaders,
): Promise<Identity | null> {
  c.env.notes.operation = operation
  varyByCaller(c)
  return c.env.surface.authenticate(c.env, headers)
}

/**
 * Caches may give the answer only to those who send the same token, or none as well (RFC 9110 §12.5.5). They know by
 * themselves that `Authorization` is somebody's, and do not know it of `apikey`. On Node's response, so that errors
 * and what is sent past Hono carry it too.
 */
function varyByCaller(c: AppContext): void {
  const { outgoing } = c.env
  const others = outgoing.getHeader('Vary') // of `cors.ts`
  outgoing.setHeader('Vary', `${others === undefined ? '' : `${others}, `}Authorization, apikey`)
}

/** Who asks, and for what, once it is known who. The request's notes have it from here on. @throws SlowDown */
export function callerOf(
  c: AppContext,
  { userBuckets, rates }: CallerSettings,
  identity: Identity,
  operation: string,
): Caller {
  const { incoming, notes, target, traceparent } = c.env
  const { path, query } = target
  notes.operation = operation
  notes.user = identity.subject
  notes.role = identity.role
  if (identity.accessKey !== undefined) notes.credential = identity.accessKey
  notes.via ??= identity.token === '' ? 'public' : 'token'
  rates?.count(c.env, identity, operation)
  return {
    ...identity,
    operation,
    method: incoming.method ?? 'GET',
    path: query === '' ? path : `${path}?${query}`,
    headers: incoming.headers,
    userBuckets,
    traceparent,
  }
}
