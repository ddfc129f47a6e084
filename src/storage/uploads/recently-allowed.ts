import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Identity } from '../../model/caller.ts'

/** How long it is taken for likely that what was allowed will be allowed again. In milliseconds. */
const RECENT_MS = 60_000

/** How many are remembered. An entry is some 200 bytes. */
const MOST = 10_000

/**
 * Whose last upload to which bucket was allowed, or last chunk of which upload, a moment ago. It lets nobody write: the
 * policies decide about each. But for them the bytes may be written before that is known, since it will probably not be in
 * vain; for strangers never.
 */
export class RecentlyAllowed<Known extends string | true = true> {
  readonly #uploads = new LRUCache<string, Known>({ max: MOST, ttl: RECENT_MS })

  /** @param place the UUID of a bucket, or of an upload in chunks */
  has(caller: Identity, place: string): boolean {
    return this.#uploads.has(keyOf(caller, place))
  }

  /** What was noted; undefined for a stranger. */
  get(caller: Identity, place: string): Known | undefined {
    return this.#uploads.get(keyOf(caller, place))
  }

  /** @param known what the next one may rely on */
  note(caller: Identity, place: string, known: Known): void {
    this.#uploads.set(keyOf(caller, place), known)
  }

  /** After any failure: the next one has to prove himself again. */
  forget(caller: Identity, place: string): void {
    this.#uploads.delete(keyOf(caller, place))
  }
}

function keyOf({ role, subject, claims }: Identity, place: string): string {
  return `${place} ${role} ${subject ?? ''} ${digestOf(claims)}`
}

/** The claims of a token are one object for as long as it is remembered, and asked for with each request. */
const digests = new WeakMap<object, string>()

function digestOf(claims: Identity['claims']): string {
  let digest = digests.get(claims)
  if (digest === undefined) {
    digest = createHash('sha256').update(JSON.stringify(claims)).digest('base64')
    digests.set(claims, digest)
  }
  return digest
}
