import type { IncomingMessage } from 'node:http'
import { StorageError } from '../../model/errors.ts'

/** Where clients find us; gateways may strip it, so that every route answers without it too (wire §1.1). */
export const PUBLIC_PREFIX = '/storage/v1'

export interface RequestTarget {
  path: string
  query: string
  hasPrefix: boolean
}

/** What was asked for last. A request is asked for its target at half a dozen places, mostly right after each other. */
let latest: { url: string; target: RequestTarget } | undefined

/**
 * The request target as it came: no dot segment resolved, no escape decoded. A name must reach us as the client
 * sent it. All of it is ASCII, since Node's parser refuses a target that is not percent-encoded.
 */
export function requestTarget({ url = '/' }: IncomingMessage): RequestTarget {
  if (latest?.url !== url) latest = { url, target: parseTarget(url) }
  return latest.target
}

function parseTarget(url: string): RequestTarget {
  // The absolute form is what proxies are sent (RFC 9112 §3.2.2).
  const target = url.replace(/^https?:\/\/[^/?]*/i, '')
  const mark = target.indexOf('?')
  const full = mark < 0 ? target : target.slice(0, mark)
  const hasPrefix = full === PUBLIC_PREFIX || full.startsWith(`${PUBLIC_PREFIX}/`)
  return {
    path: (hasPrefix ? full.slice(PUBLIC_PREFIX.length) : full) || '/',
    query: mark < 0 ? '' : target.slice(mark + 1),
    hasPrefix,
  }
}

/** The query as the client wrote it; Node's URL parser is not asked, since it would see other bytes. */
export function queryOf(incoming: IncomingMessage): URLSearchParams {
  return new URLSearchParams(requestTarget(incoming).query)
}

/** One parameter of the query. Of most requests there is none to look for it in. */
export function parameterOf(incoming: IncomingMessage, name: string): string | undefined {
  if (requestTarget(incoming).query === '') return undefined
  return queryOf(incoming).get(name) ?? undefined
}

/**
 * The bucket and the name in a path, decoded once. The name is everything after the bucket's segment and may be
 * empty; whether it is legal is for the storage to say.
 *
 * @param route what stands before the bucket, such as `/object/public/`
 * @throws InvalidRequest when the percent-encoding is broken or is no UTF-8
 */
export function objectTarget(path: string, route: string): { bucket: string; name: string } {
  const rest = path.slice(route.length)
  const slash = rest.indexOf('/')
  if (slash < 0) return { bucket: decodeSegment(rest), name: '' }
  return { bucket: decodeSegment(rest.slice(0, slash)), name: decodeSegment(rest.slice(slash + 1)) }
}

/** @throws InvalidRequest */
export function decodeSegment(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new StorageError('InvalidRequest', {
      message: 'The percent-encoding of the path is malformed',
      cause,
    })
  }
}
