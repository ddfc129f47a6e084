import ipaddr from 'ipaddr.js'

/** An IPv4 address within an IPv6 one has so many bits before it. */
const MAPPED_BITS = 96

/**
 * A network in one way of writing it: `192.0.2.0/24`, `2001:db8::/32`. An address alone is a network of one. Null for what is
 * none; nothing is guessed, as that `10.1` were 10.0.0.1.
 */
export function parseNetwork(text: string): string | null {
  const [, address = '', bits] = /^([\da-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  if (!ipaddr.IPv4.isValidFourPartDecimal(address) && !ipaddr.IPv6.isValid(address)) return null
  const whole = ipaddr.parse(address)
  const bitsOf = (of: ipaddr.IPv4 | ipaddr.IPv6) => (of.kind() === 'ipv4' ? 32 : 128)
  const prefix = bits === undefined ? bitsOf(whole) : Number(bits)
  if (prefix > bitsOf(whole)) return null
  if (whole instanceof ipaddr.IPv6 && whole.isIPv4MappedAddress() && prefix >= MAPPED_BITS) {
    return network(whole.toIPv4Address(), prefix - MAPPED_BITS)
  }
  return network(whole, prefix)
}

/** Whether an address is in one of these networks. One that is none, or of which nothing is known, is in none. */
export function isWithin(address: string | undefined, networks: string[]): boolean {
  if (address === undefined || !ipaddr.isValid(address)) return false
  const asked = ipaddr.process(address)
  return networks.some((text) => {
    const [of, bits] = ipaddr.parseCIDR(text)
    return of.kind() === asked.kind() && asked.match(of, bits)
  })
}

function network(address: ipaddr.IPv4 | ipaddr.IPv6, prefix: number): string {
  const bytes = address.toByteArray().map((byte, index) => {
    const kept = Math.min(Math.max(prefix - 8 * index, 0), 8)
    return byte & (0xff00 >> kept) & 0xff
  })
  return `${ipaddr.fromByteArray(bytes).toString()}/${prefix}`
}
