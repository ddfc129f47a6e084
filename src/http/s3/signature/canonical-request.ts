import type { IncomingMessage } from 'node:http'
import { encodeStrictly } from '../../../lib/percent-encoding.ts'
import { StorageError } from '../../../model/errors.ts'

// What a request is to a signature (AWS Signature Version 4, "Create a canonical request"; wire §6.2).

/** As a request names the place that it goes to; proxies may have changed what came. */
export interface SignedAddress {
  host: string
  /** Percent-encoded, with all prefixes. */
  path: string
}

export interface CanonicalParts {
  method: string
  /** As `canonicalQuery` has made it. */
  query: string
  /** In lower case, in the order in which they were signed. */
  signedHeaders: string[]
  payloadHash: string
}

export function canonicalRequest(
  incoming: IncomingMessage,
  at: SignedAddress,
  parts: CanonicalParts,
): string {
  const { method, query, signedHeaders, payloadHash } = parts
  let headers = ''
  for (const name of signedHeaders) {
    headers += `${name}:${name === 'host' ? at.host : signedValue(incoming, name)}\n`
  }
  return `${method}\n${at.path}\n${query}\n${headers}\n${signedHeaders.join(';')}\n${payloadHash}`
}

/** A header as it was signed: without blanks around it, and with one between its words. */
function signedValue(incoming: IncomingMessage, name: string): string {
  const { headers } = incoming
  // Objects have by themselves what no request has sent, such as `constructor`.
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined
  if (value === undefined) return absentValue(headers, name)
  if (name === 'accept-encoding') {
    // Proxies that rewrite it say what it was.
    const original = headers['x-original-accept-encoding']
    if (typeof original === 'string') return collapsed(original)
  }
  if (typeof value !== 'string') return value.map(collapsed).join(',')
  // Node has joined what came more than once with a blank, which is not signed.
  if (!value.includes(', ')) return collapsed(value)
  return (incoming.headersDistinct[name] ?? [value]).map(collapsed).join(',')
}

/** Clients that send no body may sign its length all the same. */
function absentValue(headers: IncomingMessage['headers'], name: string): string {
  const original = name === 'accept-encoding' ? headers['x-original-accept-encoding'] : undefined
  if (typeof original === 'string') return collapsed(original)
  return name === 'content-length' ? '0' : ''
}

function collapsed(value: string): string {
  return (value.includes('  ') || value.includes('\t') ? value.replace(/[ \t]+/g, ' ') : value).trim()
}

/**
 * A query in the order and spelling in which it is signed.
 *
 * @param query as it came, without its question mark
 * @param without a parameter that is not signed: the signature itself
 * @throws InvalidRequest when its percent-encoding is broken
 */
export function canonicalQuery(query: string, without?: string): string {
  if (query === '') return ''
  const pairs: [name: string, value: string][] = []
  for (const part of query.split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = strictlyEncoded(equals < 0 ? part : part.slice(0, equals))
    if (name !== without) pairs.push([name, equals < 0 ? '' : strictlyEncoded(part.slice(equals + 1))])
  }
  if (pairs.length > 1) pairs.sort(([a, x], [b, y]) => (a < b || (a === b && x < y) ? -1 : 1))
  return pairs.map(([name, value]) => `${name}=${value}`).join('&')
}

/** A path in which each character but the unreserved ones and the slash is escaped, as signers who build it write it. */
export function strictPath(path: string): string {
  return path
    .split('/')
    .map((segment) => encodeStrictly(decoded(segment)))
    .join('/')
}

const UNRESERVED = /^[\w.~-]*$/

/** As S3 reads a query, in which a plus is a blank. */
function strictlyEncoded(text: string): string {
  return UNRESERVED.test(text) ? text : encodeStrictly(decoded(text.replaceAll('+', ' ')))
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new StorageError('InvalidRequest', {
      message: 'The percent-encoding of the URL is malformed',
      cause,
    })
  }
}
