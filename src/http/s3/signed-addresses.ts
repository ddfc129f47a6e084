import { forwardedAddress, type PublicAddress } from '../message/public-url.ts'
import { PUBLIC_PREFIX } from '../request-target.ts'
import type { RequestContext } from '../surface.ts'
import { type SignedAddress, strictPath } from './signature/canonical-request.ts'

/**
 * The addresses that a request's client may have signed for. Between it and us a gateway may have taken a prefix away,
 * changed the host, or spelled the path anew; a signature says which of them it was, so that all may be tried. Nothing is
 * believed by that: it holds for the same secret, method, path and headers alone.
 */
export function* signedAddresses(
  { incoming, target }: RequestContext,
  { publicUrl, trustProxy }: PublicAddress,
): Generator<SignedAddress> {
  const { sent } = target
  const here = incoming.headers.host ?? ''
  if (!trustProxy) yield { host: here, path: sent } // most requests are for this one, and need no other

  const forwarded = trustProxy ? forwardedAddress(incoming) : {}
  const hosts = new Set<string>()
  if (forwarded.host !== undefined) hosts.add(withPort(forwarded.host, forwarded.port))
  hosts.add(here)
  const paths = new Set<string>()
  if (forwarded.prefix !== undefined) paths.add(`${forwarded.prefix}${sent}`)
  paths.add(sent)
  yield* combined(hosts, paths)

  // What follows is tried for requests alone that would be refused.
  if (publicUrl !== undefined) {
    const { host, pathname } = new URL(publicUrl)
    hosts.add(host)
    paths.add(`${pathname === '/' ? '' : pathname}${PUBLIC_PREFIX}${target.sent.slice(target.prefix.length)}`)
  }
  if (target.prefix === '') paths.add(`${PUBLIC_PREFIX}${sent}`)
  for (const path of [...paths]) paths.add(strictPath(path))
  yield* combined(hosts, paths)
}

function* combined(hosts: Set<string>, paths: Set<string>): Generator<SignedAddress> {
  for (const host of hosts) for (const path of paths) yield { host, path }
}

/** A host as clients name it: the ports that go without saying are left out. */
function withPort(host: string, port: string | undefined): string {
  const isUsual = port === undefined || port === '80' || port === '443' || /:\d+$/.test(host)
  return isUsual ? host : `${host}:${port}`
}
