import ipaddr from 'ipaddr.js'

/**
 * Whether an IP address is one of the public internet: not of this machine or its networks, and none that leads there
 * in disguise, such as an IPv4 address within an IPv6 one.
 */
export function isPublicAddress(text: string): boolean {
  if (!ipaddr.isValid(text)) return false
  const address = ipaddr.process(text)
  if (address.range() !== 'unicast') return false
  // All that is given out is in 2000::/3 (RFC 4291 §2.4).
  return address.kind() === 'ipv4' || (address.toByteArray()[0] ?? 0) >> 5 === 1
}

/** The address that a URL names itself, in whatever notation, or null when it has a name to be looked up. */
export function literalAddress(url: URL): string | null {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return ipaddr.isValid(host) ? host : null
}
