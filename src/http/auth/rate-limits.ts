import { createHash } from 'node:crypto'
import type { Identity } from '../../model/caller.ts'
import { StorageError } from '../../model/errors.ts'
import { type Rate, REQUEST_KINDS, type RequestKind } from '../../model/rate.ts'
import type { SharedRates } from '../../storage/rates/shared-rates.ts'
import type { Exchange, RequestContext } from '../surface.ts'
import { kindOf } from './request-kind.ts'
import { clientOf } from './share-of.ts'

export interface RateLimitsOptions {
  rates: Partial<Record<RequestKind, Rate | undefined>>
  counted: Pick<SharedRates, 'take'>
  /** Whether a client's address is what a proxy says. */
  trustProxy: boolean
}

/** What a request is told of its limit. */
interface Verdict {
  isAllowed: boolean
  /** Names and values in turn. */
  headers: string[]
}

const NO_LIMIT: Verdict = { isAllowed: true, headers: [] }

/** What is remembered of a client is no longer than this, in characters. Subjects may be. */
const MAX_CLIENT = 100

/**
 * Refuses requests of clients that ask for too many (decision 0063): once it is known who asks, before the body is waited for
 * and the database is asked. Each answer says how many are left, in the fields of draft-ietf-httpapi-ratelimit-headers-10.
 */
export class RateLimits {
  readonly #options: RateLimitsOptions
  /** What each kind's answers have in common: `"read";q=100;w=10`. */
  readonly #policies: ReadonlyMap<RequestKind, string>

  constructor(options: RateLimitsOptions) {
    this.#options = options
    this.#policies = new Map(
      REQUEST_KINDS.map((kind) => {
        const { requests = 0, windowMs = 0 } = options.rates[kind] ?? {}
        return [kind, `"${kind}";q=${requests};w=${windowMs / 1000}`]
      }),
    )
  }

  /**
   * Counts a request, and puts on its answer where its client stands.
   *
   * @param identity null when nobody has been proven to ask: that counts for the address
   * @throws SlowDown
   */
  count(exchange: Exchange, identity: Identity | null, operation: string): void {
    const headers = this.demand(exchange, identity, kindOf(operation))
    for (let index = 0; index < headers.length; index += 2) {
      exchange.outgoing.setHeader(headers[index] ?? '', headers[index + 1] ?? '')
    }
  }

  /** Counts a request. Returns what its answer carries, names and values in turn. @throws SlowDown */
  demand(request: RequestContext, identity: Identity | null, kind: RequestKind): string[] {
    const { isAllowed, headers } = this.judge(request, identity, kind)
    if (isAllowed) return headers
    throw new StorageError('SlowDown', { headers: asRecord(headers) })
  }

  /** Counts a request if it may go on. */
  judge(request: RequestContext, identity: Identity | null, kind: RequestKind): Verdict {
    const client = this.#clientOf(request, identity)
    const standing = client === null ? null : this.#options.counted.take(kind, client, request.startedAt)
    if (!standing) return NO_LIMIT
    const { waitMs, remaining, emptyInMs } = standing
    const policy = this.#policies.get(kind) ?? ''
    const headers = [
      'RateLimit-Policy',
      policy,
      'RateLimit',
      `"${kind}";r=${remaining};t=${seconds(emptyInMs)}`,
    ]
    if (waitMs === 0) return { isAllowed: true, headers }
    return { isAllowed: false, headers: [...headers, 'Retry-After', String(seconds(waitMs))] }
  }

  /** Null is the service, which has no limits. */
  #clientOf(request: RequestContext, identity: Identity | null): string | null {
    const client = clientOf(request, identity, this.#options.trustProxy)
    return client !== null && client.length > MAX_CLIENT ? `digest ${digest(client)}` : client
  }
}

/** As headers count them: no less than one, and never too early. */
function seconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000))
}

function asRecord(headers: string[]): Record<string, string> {
  const record: Record<string, string> = {}
  for (let index = 0; index < headers.length; index += 2)
    record[headers[index] ?? ''] = headers[index + 1] ?? ''
  return record
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
