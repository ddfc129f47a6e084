import type { Database } from '../../database/connection/client.ts'
import { type RevocationPage, revocationsAfter, revokedAt } from '../../database/queries/links.ts'

/** What is in memory is used for so long after the look began that it is from. In milliseconds. */
const FRESH_MS = 1000

/** While signed URLs are in use the next look begins after so long, and nobody waits for it. In milliseconds. */
const LOOK_MS = 300

/** That are remembered: about 6 MB if the names are long. */
const MOST = 20_000

/** That are read at once. */
const PAGE = 5000

/** With more than can be remembered, it is tried again after so long whether that is still so. In milliseconds. */
const RETRY_MS = 60_000

export interface RevocationsOptions {
  database: Pick<Database, 'read'>
  /** How many are remembered; of more each signed URL is asked about. */
  most?: number
}

/**
 * Which signed URLs were taken back (decision 0075). They are few, as a rule none: so all of them are remembered, and a look
 * fetches what has come since the last one. What is older than a second is not used: whoever asks then waits for a look, and
 * fails with it, so that a server which hears nothing any more serves nothing that was taken back. When there are more than
 * can be remembered, the database is asked about each signed URL.
 */
export class Revocations {
  readonly #database: Pick<Database, 'read'>
  readonly #most: number
  #known: Known = { moments: new Map(), position: 0 }
  /** By `performance.now()`: until then there are more than can be remembered, so far as is known. */
  #tooManyUntil = Number.NEGATIVE_INFINITY
  /** When the last look began; and the same by the clock on the wall, since the other one stands still while a machine sleeps. */
  #lookedAt = Number.NEGATIVE_INFINITY
  #lookedAtDate = Number.NEGATIVE_INFINITY
  #looking: Promise<void> | undefined

  constructor({ database, most = MOST }: RevocationsOptions) {
    this.#database = database
    this.#most = most
  }

  /** How many are remembered. */
  get size(): number {
    return this.#known.moments.size
  }

  /**
   * The last moment at which one of these keys was taken back, in milliseconds since 1970; null for none.
   *
   * @param keys asked for where there is something that they could be found in
   * @throws DatabaseUnavailable
   */
  latest(keys: () => string[]): number | null | Promise<number | null> {
    const now = performance.now()
    if (now < this.#tooManyUntil) return revokedAt(this.#database, keys())
    const age = Math.max(now - this.#lookedAt, Date.now() - this.#lookedAtDate)
    if (age >= FRESH_MS) return this.#latestOfALook(keys, now)
    if (age >= LOOK_MS) this.#look().catch(() => {}) // whoever needs it tries again, and hears why not
    return this.#remembered(keys)
  }

  /** Learns at once what this process has taken back itself. @throws DatabaseUnavailable */
  async learn(): Promise<void> {
    await this.#looking?.catch(() => {}) // it may have begun before
    await this.#look()
  }

  async #latestOfALook(keys: () => string[], askedAt: number): Promise<number | null> {
    // The first one may be somebody's who has begun to look long before.
    do await this.#look()
    while (this.#lookedAt + FRESH_MS <= askedAt)
    return askedAt < this.#tooManyUntil ? revokedAt(this.#database, keys()) : this.#remembered(keys)
  }

  #remembered(keys: () => string[]): number | null {
    const { moments } = this.#known
    if (moments.size === 0) return null
    let latest: number | null = null
    for (const key of keys()) {
      const moment = moments.get(key)
      if (moment !== undefined && (latest === null || moment > latest)) latest = moment
    }
    return latest
  }

  /** One at a time: whoever comes meanwhile waits for the same. */
  #look(): Promise<void> {
    this.#looking ??= this.#catchUp().finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #catchUp(): Promise<void> {
    const [startedAt, startedAtDate] = [performance.now(), Date.now()]
    const page = await this.#pageAfter(this.#known.position)
    // Positions that count anew are those of another database, put in this one's place; or the newest were over.
    const isOther = page.newest < this.#known.position
    if (isOther || !(await this.#add(page, this.#known))) {
      // Without those that are over by now.
      const anew: Known = { moments: new Map(), position: 0 }
      const isWhole = await this.#add(await this.#pageAfter(0), anew)
      if (!isWhole) this.#tooManyUntil = performance.now() + RETRY_MS
      this.#known = isWhole ? anew : { moments: new Map(), position: 0 }
    }
    this.#lookedAt = startedAt
    this.#lookedAtDate = startedAtDate
  }

  /** Remembers a page, and those behind it. Returns whether there is room for them. */
  async #add({ revocations }: RevocationPage, known: Known): Promise<boolean> {
    for (let page = revocations; page.length > 0; ) {
      for (const { position, key, moment } of page) {
        known.moments.set(key, moment)
        known.position = position
      }
      if (known.moments.size > this.#most) return false
      if (page.length < PAGE) break
      page = (await this.#pageAfter(known.position)).revocations
    }
    return true
  }

  #pageAfter(position: number): Promise<RevocationPage> {
    return revocationsAfter(this.#database, position, PAGE)
  }
}

/** What is remembered. */
interface Known {
  /** By their keys. */
  moments: Map<string, number>
  /** The last one of them. */
  position: number
}
