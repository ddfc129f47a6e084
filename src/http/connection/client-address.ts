import type { IncomingMessage } from 'node:http'
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'

/** What a site is given of IPv6, in bytes: its clients choose the rest themselves (RFC 6177 §2). */
const IPV6_SITE_BYTES = 8

/**
 * Where a request comes from, for limits that each client has: an IPv4 address, or the network of an IPv6 one. Behind a
 * trusted proxy it is what that has added to `X-Forwarded-For`, which is the last: the others may be made up.
 */
export function clientAddress(incoming: IncomingMessage, trustProxy: boolean): string {
  return addressOf(incoming, trustProxy)?.network ?? 'unknown'
}

/** The same address whole, for who is to find out later whose it was; undefined when the connection is gone, and nobody asked before. */
export function remoteAddress(incoming: IncomingMessage, trustProxy: boolean): string | undefined {
  return addressOf(incoming, trustProxy)?.whole
}

interface Address {
  /** Without the zone of IPv6, which is of one machine. */
  whole: string
  /** That of an IPv4 one is itself. */
  network: string
}

function addressOf({ headers, socket }: IncomingMessage, trustProxy: boolean): Address | undefined {
  const forwarded = trustProxy ? String(headers['x-forwarded-for'] ?? '').split(',') : []
  return addressIn(forwarded.at(-1)) ?? addressIn(socket.remoteAddress)
}

/** Of those who have asked lately: to read an address takes longer than much of what is done for one. */
const addresses = new LRUCache<string, Address>({ max: 10_000 })

/** In characters; all that an address may be written with. */
const LONGEST_ADDRESS = 64

/** Undefined for what is no address. */
function addressIn(text: string | undefined): Address | undefined {
  if (!text) return undefined // the parser says so by an error, which takes ten times as long as the rest
  const known = addresses.get(text)
  if (known !== undefined) return known
  const address = readAddress(text)
  if (address !== undefined && text.length <= LONGEST_ADDRESS) addresses.set(text, address)
  return address
}

function readAddress(text: string): Address | undefined {
  // Some proxies add the port.
  const bare = text.trim().replace(/^\[(.*)\](?::\d+)?$|^([\d.]+):\d+$/, '$1$2')
  if (!ipaddr.isValid(bare)) return undefined
  const address = ipaddr.process(bare) // of an IPv4 one within an IPv6 one, that
  const whole = address.toString().replace(/%.*$/, '')
  if (address.kind() === 'ipv4') return { whole, network: whole }
  const site = Buffer.from(address.toByteArray().slice(0, IPV6_SITE_BYTES))
  return { whole, network: `${site.toString('hex')}/64` }
}
