import { forwardedAddress, type PublicAddress } from '../message/public-url.ts'
import { isBelow, PUBLIC_PREFIX } from '../request-target.ts'
import type { RequestContext } from '../surface.ts'
import { S3_PATH } from './address.ts'
import { type SignedAddress, strictPath } from './signature/canonical-request.ts'

/**
 * The addresses that a request's client may have signed for. Between it and us a gateway may have taken a prefix away,
 * changed the host, or spelled the path anew; a signature says which of them it was, so that all may be tried that mean the
 * same object. Nothing is believed by that: it holds for the same secret, method and headers alone.
 */
export function* signedAddresses(
  { incoming, target }: RequestContext,
  { publicUrl, trustProxy }: PublicAddress,
): Generator<SignedAddress> {
  const { sent, prefix, path } = target
  const { host: here = '' } = incoming.headers
  const forwarded = trustProxy ? forwardedAddress(incoming) : {}
  const host = forwarded.host === undefined ? here : withPort(forwarded.host, forwarded.port)
  // At a host of a bucket, or the root of a port, with anything before it it would be another object.
  const isBelowOurs = path === (sent.slice(prefix.length) || '/')
  // Few gateways take this header from those who send it themselves: it may not begin in another object's key.
  const gateway =
    isBelowOurs && !isBelow(withoutOurs(forwarded.prefix), S3_PATH) ? forwarded.prefix : undefined
  if (gateway !== undefined) yield { host, path: `${gateway}${sent}` }
  yield { host, path: sent }

  // What follows is tried for requests alone that would be refused.
  const hosts = new Set([host])
  const paths = new Set([sent])
  if (gateway !== undefined) paths.add(`${gateway}${sent}`)
  if (isBelowOurs && prefix === '') paths.add(`${PUBLIC_PREFIX}${sent}`)
  if (isBelowOurs && publicUrl !== undefined) {
    const { host: publicHost, pathname } = new URL(publicUrl)
    hosts.add(publicHost)
    paths.add(`${pathname === '/' ? '' : pathname}${PUBLIC_PREFIX}${path}`)
  }
  for (const path of [...paths]) paths.add(strictPath(path))
  yield* combined(hosts, paths)
}

function withoutOurs(path = ''): string {
  return isBelow(path, PUBLIC_PREFIX) ? path.slice(PUBLIC_PREFIX.length) : path
}

function* combined(hosts: Set<string>, paths: Set<string>): Generator<SignedAddress> {
  for (const host of hosts) for (const path of paths) yield { host, path }
}

/** A host as clients name it: the ports that go without saying are left out. */
function withPort(host: string, port: string | undefined): string {
  const isUsual = port === undefined || port === '80' || port === '443' || /:\d+$/.test(host)
  return isUsual ? host : `${host}:${port}`
}
