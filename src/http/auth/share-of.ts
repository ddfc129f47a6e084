import type { Identity } from '../../model/caller.ts'
import { clientAddress } from '../connection/client-address.ts'
import type { RequestContext } from '../surface.ts'

/** Whose share something counts to; null is the service, which may have all. */
export function shareOf(
  { role, subject, accessKey }: Pick<Identity, 'role' | 'subject' | 'accessKey'>,
  address: string,
): string | null {
  if (role === 'service_role') return null
  if (subject !== null) return `subject ${subject}`
  return accessKey === undefined ? `address ${address}` : `key ${accessKey}`
}

const STRANGER = { role: 'anon', subject: null }

/**
 * Whose share a request counts to, as `shareOf`. A link is whoever has it: its signer is not held to what they do with it.
 *
 * @param identity null when nobody has been proven to ask
 * @param trustProxy whether a client's address is what a proxy says
 */
export function clientOf(
  request: RequestContext,
  identity: Pick<Identity, 'role' | 'subject' | 'accessKey'> | null,
  trustProxy: boolean,
): string | null {
  const address = clientAddress(request.incoming, trustProxy)
  const isProven = identity !== null && request.surface.isLink?.(request) !== true
  return shareOf(isProven ? identity : STRANGER, address)
}
