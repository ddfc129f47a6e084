import type { IncomingMessage } from 'node:http'
import type { MiddlewareHandler } from 'hono'
import type { Env } from '../env.ts'

/** Wire §1.1. */
const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'

/** Wire §1.1, with the conditional headers, and those of SigV4. */
const REQUEST_HEADERS = [
  'authorization, apikey, x-client-info, content-type, content-encoding, cache-control, range, if-range',
  'if-match, if-none-match, if-modified-since, if-unmodified-since',
  'x-upsert, x-metadata, x-signature, x-share-token, x-share-password, x-content-sha256, content-digest, repr-digest, content-md5, x-robots-tag, x-request-id, last-event-id',
  'x-strongroom-auto-delete-after-days, x-tags, x-strongroom-tags, x-strongroom-file-name, x-strongroom-organization-id',
  'idempotency-key, x-file-name, x-strongroom-user-id, x-strongroom-access-level, x-strongroom-asset-type, x-strongroom-enable-indexing',
  'tus-resumable, upload-length, upload-metadata, upload-offset, upload-defer-length, upload-checksum, upload-expires',
  'upload-concat, x-http-method-override, x-requested-with',
  'x-amz-acl, x-amz-content-sha256, x-amz-date, x-amz-security-token, x-amz-user-agent',
].join(', ')

/** All that an answer of ours may carry and a page could want to read (wire §1.1). */
const RESPONSE_HEADERS = [
  'etag, content-range, content-length, content-disposition, content-encoding, accept-ranges, last-modified, repr-digest',
  'idempotent-replayed, location, x-request-id, x-robots-tag, retry-after, ratelimit, ratelimit-policy, allow, www-authenticate, date, age',
  'upload-offset, upload-length, upload-defer-length, upload-expires, upload-metadata',
  'tus-resumable, tus-version, tus-extension, tus-max-size, tus-checksum-algorithm, tus-complete',
].join(', ')

/** Of the names that a page asks for, in characters. Proxies keep all headers in one buffer, which nginx gives 4 KiB. */
const MAX_ASKED = 2000

/** A field name (RFC 9110 §5.1, §5.6.2). */
const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/

/** A preflight's answer holds for a day, or as much of it as the browser allows. In seconds. */
const PREFLIGHT_SECONDS = '86400'

/**
 * Lets browsers call from other origins (the Fetch standard, §3.2). Headers go on Node's response, so that those
 * sent past Hono carry them too.
 */
export class Cors {
  readonly #anyone: boolean
  readonly #known: Set<string>

  /** @param origins who may; `*` is anyone. Tokens, not cookies, say who asks, so anyone is no danger. */
  constructor(origins: string[]) {
    this.#anyone = origins.includes('*')
    this.#known = new Set(origins)
  }

  readonly middleware: MiddlewareHandler<Env> = async (c, next) => {
    const { incoming, outgoing } = c.env
    const { isAllowed, headers } = this.answer(incoming)
    for (let index = 0; index < headers.length; index += 2) {
      outgoing.setHeader(headers[index] ?? '', headers[index + 1] ?? '')
    }
    if (incoming.method !== 'OPTIONS') return next()
    if (isAllowed) {
      outgoing.setHeader('Access-Control-Allow-Methods', METHODS)
      outgoing.setHeader('Access-Control-Allow-Headers', allowedHeaders(incoming))
      outgoing.setHeader('Access-Control-Max-Age', PREFLIGHT_SECONDS)
      outgoing.appendHeader('Vary', 'Access-Control-Request-Headers')
    }
    return c.body(null, 204)
  }

  /** Whether a page of that origin may read the answer, and how the answer says so. */
  answer({ headers: { origin } }: IncomingMessage): CorsAnswer {
    if (this.#anyone) return ANYONE
    const isAllowed = origin !== undefined && this.#known.has(origin)
    return { isAllowed, headers: ['Vary', 'Origin', ...(isAllowed ? allowing(origin) : [])] }
  }
}

interface CorsAnswer {
  isAllowed: boolean
  /** Names and values in turn. */
  headers: string[]
}

/**
 * The headers that our clients send, and those that this page asks for: apps put headers of their own on every request, as
 * tracing does, and may. None of them gives a right, and a browser remembers each for a day. No page has so many that they
 * are too long.
 */
function allowedHeaders({ headers }: IncomingMessage): string {
  const asked = String(headers['access-control-request-headers'] ?? '')
  const others = (asked.length > MAX_ASKED ? [] : asked.split(','))
    .map((name) => name.trim().toLowerCase())
    .filter((name) => TOKEN.test(name))
  return [...new Set([...REQUEST_HEADERS.split(', '), ...others])].join(', ')
}

function allowing(origin: string): string[] {
  return ['Access-Control-Allow-Origin', origin, 'Access-Control-Expose-Headers', RESPONSE_HEADERS]
}

const ANYONE: CorsAnswer = { isAllowed: true, headers: allowing('*') }
