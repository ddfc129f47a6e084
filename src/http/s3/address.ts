import type { IncomingMessage } from 'node:http'
import { forwardedAddress } from '../message/public-url.ts'
import { decodeSegment } from '../message/request-path.ts'
import { isBelow, PUBLIC_PREFIX } from '../request-target.ts'

/** Where S3 is spoken beside the other protocols: at the public prefix, too. */
export const S3_PATH = '/s3'

/** What a request is about: nothing in particular, a bucket, or an object. */
export type Level = 'service' | 'bucket' | 'object'

export interface S3Address {
  level: Level
  /** Empty where there is none, as the key. */
  bucket: string
  key: string
}

/**
 * The bucket and the key in a path below `S3_PATH`, decoded once. The key is all behind the bucket's slash; a bucket may have
 * one behind it that means nothing.
 *
 * @throws InvalidRequest when the percent-encoding is broken or is no UTF-8
 */
export function addressOf(path: string): S3Address {
  const rest = pathBelow(path)
  const slash = rest.indexOf('/', 1)
  const bucket = decodeSegment(slash < 0 ? rest.slice(1) : rest.slice(1, slash))
  const key = slash < 0 ? '' : decodeSegment(rest.slice(slash + 1))
  if (key !== '') return { level: 'object', bucket, key }
  return { level: bucket === '' ? 'service' : 'bucket', bucket, key }
}

/** A path as somebody sees it who takes `S3_PATH` for the root: begins with a slash. */
export function pathBelow(path: string): string {
  return path.slice(S3_PATH.length) || '/'
}

/** Where S3 is spoken besides: at a host of its own, or at the root of a port. */
export interface OtherAddresses {
  /** In lower case. */
  domain: string | undefined
  isAtRoot: boolean
  trustProxy: boolean
}

/** What such an address means below `S3_PATH`, in path style; undefined when it is none. @param sent as it came */
export function pathAt(
  { domain, isAtRoot, trustProxy }: OtherAddresses,
  incoming: IncomingMessage,
  sent: string,
): string | undefined {
  if (domain !== undefined) {
    const host = (trustProxy && forwardedAddress(incoming).host) || incoming.headers.host || ''
    const name = host.replace(/:\d+$/, '').toLowerCase()
    if (name === domain) return `${S3_PATH}${sent}`
    // A bucket whose name is no part of a host's is addressed by path.
    const bucket = name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : ''
    if (/^[\w.-]+$/.test(bucket)) return `${S3_PATH}/${bucket}${sent}`
  }
  if (!isAtRoot) return undefined
  // What is S3's at the other port is the same here: a signature for it has to be good for nothing else.
  const rest = isBelow(sent, PUBLIC_PREFIX) ? sent.slice(PUBLIC_PREFIX.length) : sent
  return isBelow(rest, S3_PATH) ? rest : `${S3_PATH}${sent}`
}
