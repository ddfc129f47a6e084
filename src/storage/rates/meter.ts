import type { Rate } from '../../model/rate.ts'

/** One client's requests, as a bucket that leaks steadily. */
export interface Bucket {
  readonly client: string
  /** By `performance.now()`. */
  emptyAt: number
  /** Requests that the other servers have not heard of. */
  untold: number
  /** When the first of these came, by `performance.now()`. */
  untoldSince: number
  /** Where it is in the list of all. */
  index: number
}

/** What becomes of a request, and where its client stands with it. */
export interface Standing {
  /** 0 for one that is let in; else how long it would have to wait. In milliseconds. */
  waitMs: number
  /** Requests that would be let in at once. */
  remaining: number
  /** Until all would be that a client may ask for at once. In milliseconds. */
  emptyInMs: number
}

/** Of so many buckets the one that is empty first makes room. */
const CANDIDATES = 8

/** What sums of fractions may be off by, in milliseconds. */
const ROUNDING_MS = 1e-6

/**
 * Counts the requests of each client: as many at once as the rate has, and then one whenever the time has passed that the
 * rate has for one. Knows so many clients at most. A newcomer takes the place of one who has little to be reminded of: of some
 * that are chosen by chance, the one whose bucket is empty first. So nobody who has asked for all that he may is forgotten
 * as long as there are others, and nobody is refused for being new.
 */
export class Meter {
  readonly rate: Rate
  /** The time that a bucket takes to leak a request. In milliseconds. */
  readonly requestMs: number
  readonly #most: number
  readonly #buckets = new Map<string, Bucket>()
  readonly #all: Bucket[] = []
  readonly #untold = new Set<Bucket>()

  /** @param most clients that are known at once */
  constructor(rate: Rate, most: number) {
    this.rate = rate
    this.requestMs = rate.windowMs / rate.requests
    this.#most = most
  }

  /** Counts a request, if it is let in. @param now by `performance.now()` */
  take(client: string, now: number): Standing {
    const { requestMs } = this
    const { windowMs } = this.rate
    const known = this.#buckets.get(client)
    const fullMs = known !== undefined && known.emptyAt > now ? known.emptyAt - now : 0
    const waitMs = fullMs + requestMs - windowMs
    if (waitMs > ROUNDING_MS) return { waitMs, remaining: 0, emptyInMs: fullMs }
    const bucket = known ?? this.#add(client)
    bucket.emptyAt = now + fullMs + requestMs
    if (bucket.untold++ === 0) {
      bucket.untoldSince = now
      this.#untold.add(bucket)
    }
    const emptyInMs = fullMs + requestMs
    return { waitMs: 0, remaining: Math.floor((windowMs - emptyInMs + ROUNDING_MS) / requestMs), emptyInMs }
  }

  /** Whether there is something that the others have not heard. */
  get hasUntold(): boolean {
    return this.#untold.size > 0
  }

  /** Takes what the others have not heard, the oldest first. @param most clients */
  takeUntold(most: number): Pick<Bucket, 'client' | 'untold' | 'untoldSince'>[] {
    const taken = []
    for (const bucket of this.#untold) {
      if (taken.length === most) break
      const { client, untold, untoldSince } = bucket
      taken.push({ client, untold, untoldSince })
      bucket.untold = 0
      this.#untold.delete(bucket)
    }
    return taken
  }

  /** Puts back what could not be told. */
  putBack({ client, untold, untoldSince }: Pick<Bucket, 'client' | 'untold' | 'untoldSince'>): void {
    const bucket = this.#buckets.get(client)
    if (!bucket) return
    bucket.untold += untold
    bucket.untoldSince = untoldSince
    this.#untold.add(bucket)
  }

  /**
   * Hears how full a bucket is with what all have let in. What has been let in here meanwhile comes on top, and nothing that
   * is known better here is forgotten.
   *
   * @param leftMs the time until it would be empty
   */
  settle(client: string, leftMs: number, now: number): void {
    const bucket = this.#buckets.get(client)
    if (!bucket) return
    bucket.emptyAt = Math.max(bucket.emptyAt, now + leftMs + bucket.untold * this.requestMs)
  }

  #add(client: string): Bucket {
    if (this.#all.length >= this.#most) this.#forgetOne()
    const bucket = { client, emptyAt: 0, untold: 0, untoldSince: 0, index: this.#all.length }
    this.#all.push(bucket)
    this.#buckets.set(client, bucket)
    return bucket
  }

  #forgetOne(): void {
    let first = this.#anyOne()
    for (let looked = 1; looked < CANDIDATES; looked++) {
      const other = this.#anyOne()
      if (other.emptyAt < first.emptyAt) first = other
    }
    const last = this.#all.pop() as Bucket // there is one
    if (last !== first) {
      last.index = first.index
      this.#all[first.index] = last
    }
    this.#buckets.delete(first.client)
    this.#untold.delete(first)
  }

  #anyOne(): Bucket {
    return this.#all[Math.floor(Math.random() * this.#all.length)] as Bucket // within it
  }
}
