import type { HttpBindings } from '@hono/node-server'
import type { Context } from 'hono'
import type { Caller } from '../database/as-caller.ts'
import type { Access } from '../database/objects.ts'
import { StorageError } from '../errors.ts'
import type { BucketStorage } from '../storage/bucket-storage.ts'
import type { FileStorage } from '../storage/file-storage.ts'
import type { ObjectLists } from '../storage/object-lists.ts'
import type { SignedUrls } from '../storage/signed-urls.ts'
import type { Callers, Identity } from './caller.ts'
import { requestTarget } from './request-path.ts'

/** What the routes call, handed down from the composition root. */
export interface Services {
  files: FileStorage
  lists: ObjectLists
  buckets: BucketStorage
  urls: SignedUrls
  callers: Callers
  /** Each resolves when that part works, or rejects with the reason. */
  checks: { database(): Promise<void>; backend(): Promise<void> }
  userBuckets: boolean
  supabaseCompat: boolean
  corsOrigins: string[]
  publicUrl: string | undefined
  trustProxy: boolean
  version: string
}

export interface Env {
  Bindings: HttpBindings
  Variables: {
    requestId: string
    /** What the request's line in the log says besides method, status and time. Never a secret. */
    log: {
      operation?: string
      bucket?: string
      path?: string
      size?: number
      user?: string | null
      role?: string
    }
  }
}

export type AppContext = Context<Env>

/**
 * The caller of a route that needs a token.
 *
 * @param missing what to say when there is none; the two differ in Supabase's wire alone
 * @throws AuthenticationRequired, TokenRequired, InvalidToken, AccessDenied
 */
export async function requireCaller(
  c: AppContext,
  services: Services,
  operation: string,
  missing: 'AuthenticationRequired' | 'TokenRequired' = 'AuthenticationRequired',
): Promise<Caller> {
  c.get('log').operation = operation
  const identity = await services.callers.identify(c.env.incoming.headers)
  if (!identity) throw new StorageError(missing)
  return callerOf(c, services, identity, operation)
}

/**
 * The caller of a route that reads without a token too, and how far the token reaches: no token, or one that
 * does not hold, opens public buckets only (contract §1.4, §3.4).
 */
export async function optionalCaller(
  c: AppContext,
  services: Services,
  operation: string,
): Promise<{ caller: Caller; access: Access }> {
  c.get('log').operation = operation
  const identity = await services.callers.identify(c.env.incoming.headers).catch((error: unknown) => {
    const isRefused = error instanceof StorageError && error.status < 500
    if (!isRefused) throw error
    return null
  })
  if (!identity) return { caller: anonymousCaller(c, services, operation), access: 'public' }
  return { caller: callerOf(c, services, identity, operation), access: 'caller' }
}

/** The caller of a route that asks for no token. */
export function anonymousCaller(c: AppContext, services: Services, operation: string): Caller {
  const anonymous = { role: 'anon', subject: null, claims: { role: 'anon' }, token: '' }
  return callerOf(c, services, anonymous, operation)
}

function callerOf(c: AppContext, services: Services, identity: Identity, operation: string): Caller {
  const log = c.get('log')
  log.operation = operation
  log.user = identity.subject
  log.role = identity.role
  const { incoming } = c.env
  const { path, query } = requestTarget(incoming)
  return {
    ...identity,
    operation,
    method: incoming.method ?? 'GET',
    path: query === '' ? path : `${path}?${query}`,
    headers: incoming.headers,
    userBuckets: services.userBuckets,
  }
}
