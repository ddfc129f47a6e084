import type { Access, Caller } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { clientAddress } from '../connection/client-address.ts'
import type { AppContext } from '../env.ts'
import { requestTarget } from '../message/request-path.ts'
import { shareOf } from './share-of.ts'
import type { Identity, TokenVerifier } from './token-verifier.ts'

/** What it takes to say who asks. */
export interface Authentication {
  tokens: TokenVerifier
  /** Whether signed-in users may create buckets. */
  userBuckets: boolean
}

/**
 * The caller of a route that needs a token.
 *
 * @param missing what to say when there is none; the two differ in Supabase's wire alone
 * @param headers where the token is looked for
 * @throws AuthenticationRequired, TokenRequired, InvalidToken, AccessDenied
 */
export async function requireCaller(
  c: AppContext,
  authentication: Authentication,
  operation: string,
  missing: 'AuthenticationRequired' | 'TokenRequired' = 'AuthenticationRequired',
  headers = c.env.incoming.headers,
): Promise<Caller> {
  c.get('log').operation = operation
  varyByCaller(c)
  const identity = await authentication.tokens.identify(headers)
  if (!identity) throw new StorageError(missing)
  return callerOf(c, authentication, identity, operation)
}

/**
 * The caller of a route that reads without a token too, and how far the token reaches: no token, or one that
 * does not hold, opens public buckets only (wire §1.4, §3.4).
 */
export async function optionalCaller(
  c: AppContext,
  authentication: Authentication,
  operation: string,
): Promise<{ caller: Caller; access: Access }> {
  c.get('log').operation = operation
  varyByCaller(c)
  const identity = await authentication.tokens.identify(c.env.incoming.headers).catch((error: unknown) => {
    const isRefused = error instanceof StorageError && error.status < 500
    if (!isRefused) throw error
    return null
  })
  if (!identity) return { caller: anonymousCaller(c, authentication, operation), access: 'public' }
  return { caller: callerOf(c, authentication, identity, operation), access: 'caller' }
}

/** In whose name a question waits for its turn: a user's, that of where it comes from, or the service's. */
export function askerOf(c: AppContext, { trustProxy }: { trustProxy: boolean }, caller: Caller): string {
  return shareOf(caller, clientAddress(c.env.incoming, trustProxy)) ?? 'the service'
}

/** The caller of a route that asks for no token. */
export function anonymousCaller(
  c: AppContext,
  settings: Pick<Authentication, 'userBuckets'>,
  operation: string,
): Caller {
  return callerOf(c, settings, ANONYMOUS, operation)
}

const ANONYMOUS: Identity = { role: 'anon', subject: null, claims: { role: 'anon' }, token: '' }

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

function callerOf(
  c: AppContext,
  { userBuckets }: Pick<Authentication, 'userBuckets'>,
  identity: Identity,
  operation: string,
): Caller {
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
    userBuckets,
  }
}
