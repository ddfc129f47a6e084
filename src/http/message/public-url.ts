import type { IncomingMessage } from 'node:http'
import type { AppContext } from '../env.ts'
import { PUBLIC_PREFIX } from '../request-target.ts'

/** Where clients reach the server. */
export interface PublicAddress {
  /** Without a trailing slash and without /storage/v1. */
  publicUrl: string | undefined
  trustProxy: boolean
}

/** In characters. */
const MAX_PREFIX = 200

/** Of a name in DNS, and a port. In characters. */
const MAX_HOST = 255 + 6

/**
 * Makes a path of ours absolute, as the client can reach it: under STORAGE_PUBLIC_URL, or where the request came
 * to. `X-Forwarded-*` count only behind a trusted proxy (design §10).
 *
 * @param path such as `/object/sign/…`, percent-encoded
 */
export function absoluteUrl(c: AppContext, { publicUrl, trustProxy }: PublicAddress, path: string): string {
  if (publicUrl !== undefined) return `${publicUrl}${PUBLIC_PREFIX}${path}`
  const { incoming, target } = c.env
  const forwarded = trustProxy ? forwardedAddress(incoming) : {}
  const {
    proto = 'http',
    host = incoming.headers.host ?? 'localhost',
    port,
    prefix = target.prefix,
  } = forwarded
  const isUsual = port === undefined || /:\d+$/.test(host) || port === (proto === 'https' ? '443' : '80')
  return `${proto}://${host}${isUsual ? '' : `:${port}`}${prefix}${path}`
}

/** What a trusted proxy says of where a request came to. */
export interface ForwardedAddress {
  proto?: 'https' | undefined
  host?: string | undefined
  port?: string | undefined
  prefix?: string | undefined
}

/**
 * The first values of `X-Forwarded-*`, as far as they can be parts of an address. Not of `Forwarded` (RFC 7239): most proxies
 * let pass what a client says there.
 */
export function forwardedAddress({ headers }: IncomingMessage): ForwardedAddress {
  const first = (name: string) =>
    String(headers[name] ?? '')
      .split(',', 1)[0]
      ?.trim() || undefined
  return {
    proto: first('x-forwarded-proto') === 'https' ? 'https' : undefined,
    host: plainHost(first('x-forwarded-host')),
    port: plainPort(first('x-forwarded-port')),
    prefix: plainPrefix(first('x-forwarded-prefix')),
  }
}

/** A name or an address, with a port or without; undefined for anything else, which would change the address. */
function plainHost(text = ''): string | undefined {
  const parts = text.length <= MAX_HOST && /^(?:[\w.-]+|\[[\da-f:.]+\])(?::(\d+))?$/i.exec(text)
  if (!parts) return undefined
  const [, port] = parts
  return port === undefined || plainPort(port) ? text : undefined
}

function plainPort(text = ''): string | undefined {
  return /^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) < 65_536 ? text : undefined
}

/** The path of a proxy, without its last slashes; undefined for anything else, which a client may have sent. */
function plainPrefix(text: string | undefined): string | undefined {
  if (text === undefined || text.length > MAX_PREFIX || !/^\/[\w./-]*$/.test(text)) return undefined
  let end = text.length
  while (text[end - 1] === '/') end--
  return text.slice(0, end)
}

/** Percent-encodes each segment of an object's name, and keeps its slashes. */
export function encodePath(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}
