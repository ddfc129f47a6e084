import type { Identity } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { queryOf } from '../message/request-path.ts'
import type { RequestContext } from '../surface.ts'
import { VERSIONS, type Version } from './frames.ts'

/** The client appends the last part itself (wire §10.1). */
export const WEBSOCKET_PATH = '/realtime/v1/websocket'

export function isUpgradeToRealtime({ incoming, target }: RequestContext): boolean {
  const protocols = (incoming.headers.upgrade ?? '').toLowerCase().split(/\s*,\s*/)
  return protocols.includes('websocket') && target.path === WEBSOCKET_PATH
}

/**
 * Who wants to connect, and which language he speaks.
 *
 * @throws OriginNotAllowed, InvalidParameter, AuthenticationRequired, InvalidToken, AccessDenied,
 *   AuthenticationUnavailable
 */
export async function admit(
  request: RequestContext,
  corsOrigins: string[],
): Promise<{ identity: Identity; version: Version }> {
  const { origin } = request.incoming.headers
  if (origin !== undefined && !corsOrigins.includes('*') && !corsOrigins.includes(origin)) {
    throw new StorageError('OriginNotAllowed')
  }
  const asked = queryOf(request).get('vsn') ?? '1.0.0'
  const version = VERSIONS.find((one) => one === asked)
  if (version === undefined) {
    throw new StorageError('InvalidParameter', { message: `vsn must be ${VERSIONS.join(' or ')}` })
  }
  const identity = await request.surface.authenticate(request)
  if (!identity) {
    throw new StorageError('AuthenticationRequired', {
      message: 'Authentication is needed: send a key in the query, as apikey',
    })
  }
  return { identity, version }
}
