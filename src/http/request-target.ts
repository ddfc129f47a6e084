import type { IncomingMessage } from 'node:http'

/** Where clients find us; gateways may strip it, so that every route answers without it too (wire §1.1). */
export const PUBLIC_PREFIX = '/storage/v1'

/**
 * The request target as it came: no dot segment resolved, no escape decoded. A name must reach us as the client
 * sent it. All of it is ASCII, since Node's parser refuses a target that is not percent-encoded.
 */
export interface RequestTarget {
  /** The public prefix if it was sent, else empty. */
  prefix: string
  /** Behind the prefix. */
  path: string
  /** As it came, with the prefix. */
  sent: string
  /** Without its question mark. */
  query: string
}

/** Reads a request's target, and leaves it so that the adapter, which refuses a backslash, takes it for the same name. */
export function parseTarget(incoming: Pick<IncomingMessage, 'url'>, publicPrefix: string): RequestTarget {
  let target = incoming.url ?? '/'
  if (target.includes('\\')) {
    target = target.replaceAll('\\', '%5c')
    incoming.url = target
  }
  // The absolute form is what proxies are sent (RFC 9112 §3.2.2).
  if (!target.startsWith('/')) target = target.replace(/^https?:\/\/[^/?]*/i, '')
  const mark = target.indexOf('?')
  const full = mark < 0 ? target : target.slice(0, mark)
  const prefix = isBelow(full, publicPrefix) ? publicPrefix : ''
  return {
    prefix,
    path: full.slice(prefix.length) || '/',
    sent: full,
    query: mark < 0 ? '' : target.slice(mark + 1),
  }
}

/** Whether a path is this one, or begins with it and a slash. */
export function isBelow(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/')
}
