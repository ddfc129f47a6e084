import type { IncomingMessage } from 'node:http'
import { StorageError } from '../../model/errors.ts'
import type { Identity, TokenVerifier } from '../auth/token-verifier.ts'
import { queryOf, requestTarget } from '../message/request-path.ts'
import { VERSIONS, type Version } from './frames.ts'

/** The client appends the last part itself (wire §10.1). */
export const WEBSOCKET_PATH = '/realtime/v1/websocket'

export function isUpgradeToRealtime(incoming: IncomingMessage): boolean {
  const protocols = (incoming.headers.upgrade ?? '').toLowerCase().split(/\s*,\s*/)
  return protocols.includes('websocket') && requestTarget(incoming).path === WEBSOCKET_PATH
}

/**
 * Who wants to connect, and which language he speaks.
 *
 * @throws OriginNotAllowed, InvalidParameter, AuthenticationRequired, InvalidToken, AccessDenied,
 *   AuthenticationUnavailable
 */
export async function admit(
  incoming: IncomingMessage,
  { tokens, corsOrigins }: { tokens: TokenVerifier; corsOrigins: string[] },
): Promise<{ identity: Identity; version: Version }> {
  const { headers } = incoming
  if (headers.origin !== undefined && !corsOrigins.includes('*') && !corsOrigins.includes(headers.origin)) {
    throw new StorageError('OriginNotAllowed')
  }
  const query = queryOf(incoming)
  const asked = query.get('vsn') ?? '1.0.0'
  const version = VERSIONS.find((one) => one === asked)
  if (version === undefined) {
    throw new StorageError('InvalidParameter', { message: `vsn must be ${VERSIONS.join(' or ')}` })
  }
  // Browsers can give a WebSocket no headers.
  const apikey = query.get('apikey')
  const identity = await tokens.identify(apikey === null ? headers : { apikey })
  if (!identity) {
    throw new StorageError('AuthenticationRequired', {
      message: 'Authentication is needed: send a key in the query, as apikey',
    })
  }
  return { identity, version }
}
