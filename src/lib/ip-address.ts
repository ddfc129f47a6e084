import ipaddr from 'ipaddr.js'

/**
 * Addresses that look public and lead to the machine's own cloud: Azure's WireServer, which hands out a machine's
 * settings and certificates, and the endpoints that IBM Cloud shows its own customers' machines. The metadata services
 * of the others have addresses that no network routes (169.254.169.254, 100.100.100.200, 192.0.0.192, fd00:ec2::254).
 */
const OF_THE_CLOUD = ['168.63.129.16/32', '161.26.0.0/16', '166.8.0.0/14'].map((range) =>
  ipaddr.IPv4.parseCIDR(range),
)

/**
 * Whether an IP address is one of the public internet: not of this machine or its networks, and none that leads there
 * in disguise, such as an IPv4 address within an IPv6 one.
 */
export function isPublicAddress(text: string): boolean {
  if (!ipaddr.isValid(text)) return false
  const address = ipaddr.process(text)
  if (address.range() !== 'unicast') return false
  if (address instanceof ipaddr.IPv4) return !OF_THE_CLOUD.some((range) => address.match(range))
  // All that is given out is in 2000::/3 (RFC 4291 §2.4).
  return (address.toByteArray()[0] ?? 0) >> 5 === 1 && !isIsatap(address)
}

/** An IPv4 address behind any prefix, marked by the bytes before it (RFC 5214 §6.1). */
function isIsatap(address: ipaddr.IPv6): boolean {
  const [, , , , high = 0, low] = address.parts
  return (high & ~0x0200) === 0 && low === 0x5efe
}

/** The address that a URL names itself, in whatever notation, or null when it has a name to be looked up. */
export function literalAddress(url: URL): string | null {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return ipaddr.isValid(host) ? host : null
}
