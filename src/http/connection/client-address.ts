import type { IncomingMessage } from 'node:http'
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'

/** What a site is given of IPv6, in bytes: its clients choose the rest themselves (RFC 6177 §2). */
const IPV6_SITE_BYTES = 8

/**
 * Where a request comes from, for limits that each client has: an IPv4 address, or the network of an IPv6 one. Behind a
 * trusted proxy it is what that has added to `X-Forwarded-For`, which is the last: the others may be made up.
 */
export function clientAddress({ headers, socket }: IncomingMessage, trustProxy: boolean): string {
  const forwarded = trustProxy ? String(headers['x-forwarded-for'] ?? '').split(',') : []
  return networkOf(forwarded.at(-1)) ?? networkOf(socket.remoteAddress) ?? 'unknown'
}

/** The same address whole, for who is to find out later whose it was; undefined when the connection is gone, and nobody asked before. */
export function remoteAddress({ headers, socket }: IncomingMessage, trustProxy: boolean): string | undefined {
  const forwarded = trustProxy ? String(headers['x-forwarded-for'] ?? '').split(',') : []
  const address = addressIn(forwarded.at(-1)) ?? addressIn(socket.remoteAddress)
  return address?.toString().replace(/%.*$/, '') // the zone is of one machine
}

/** Of those who have asked lately: to read an address takes longer than much of what is done for one. */
const networks = new LRUCache<string, string>({ max: 10_000 })

/** In characters; all that an address may be written with. */
const LONGEST_ADDRESS = 64

/** Undefined for what is no address. */
function networkOf(text: string | undefined): string | undefined {
  if (!text) return undefined // the parser says so by an error, which takes ten times as long as the rest
  const known = networks.get(text)
  if (known !== undefined) return known
  const network = readNetwork(text)
  if (network !== undefined && text.length <= LONGEST_ADDRESS) networks.set(text, network)
  return network
}

function readNetwork(text: string): string | undefined {
  const address = addressIn(text)
  if (!address || address.kind() === 'ipv4') return address?.toString()
  return `${Buffer.from(address.toByteArray().slice(0, IPV6_SITE_BYTES)).toString('hex')}/64`
}

/** Undefined for what is none. */
function addressIn(text = '') {
  // Some proxies add the port.
  const bare = text.trim().replace(/^\[(.*)\](?::\d+)?$|^([\d.]+):\d+$/, '$1$2')
  return ipaddr.isValid(bare) ? ipaddr.process(bare) : undefined // of an IPv4 one within an IPv6 one, that
}
