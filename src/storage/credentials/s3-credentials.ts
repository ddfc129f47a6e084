import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { S3KeyPair } from '../../config/s3-protocol.ts'
import { asService } from '../../database/as-caller.ts'
import type { Database } from '../../database/connection/client.ts'
import { type FoundCredential, findCredential, touchCredential } from '../../database/queries/credentials.ts'
import { limitConcurrency } from '../../lib/concurrency.ts'
import { SingleFlight } from '../../lib/single-flight.ts'
import type { Identity } from '../../model/caller.ts'
import { type ErrorCode, StorageError } from '../../model/errors.ts'
import { ACCESS_KEY_ID } from './credentials.ts'
import type { SecretSeal } from './secret-seal.ts'

/** Who signs with an access key, and what proves it. The same object for as long as nothing changes. */
export interface S3Credential {
  /** Signs requests. */
  readonly secret: string
  readonly identity: Identity
}

export interface S3CredentialsOptions {
  /** The pair of the settings or keys.json, which stands for the service. */
  own: S3KeyPair
  database: Pick<Database, 'read' | 'transaction'>
  seal: SecretSeal
  /** Those that a token may name: fewer may be allowed than when a key was made. */
  roles: string[]
  logger: Logger
}

/** What was found is used for so long after the look began: revoked keys end within it. In milliseconds. */
const FRESH_MS = 1000

/** Of all that is remembered, as JSON. In characters. */
const REMEMBERED_CHARACTERS = 16 * 1024 * 1024

/** Access keys that nobody has, as strangers make them up; and those whose use has been noted. */
const MOST_MARKS = 10_000

/** Looks at once for access keys that have not been seen before: whoever makes them up keeps the database from nothing. */
const STRANGERS_AT_ONCE = 4

/** Last use is noted to the minute. In milliseconds. */
const TOUCH_MS = 60_000

/** One that cannot be opened is told of in the log so often at most. In milliseconds. */
const WARNING_MS = 60_000

/** What an access key means, or why it means nothing any more. */
type Outcome = S3Credential | { refusal: ErrorCode }

/** The last look at an access key that was there. */
interface Known {
  /** As the database has it: what has not changed is not opened again. */
  row: string
  outcome: Outcome
  /** By `performance.now()`, and by the clock on the wall, since the other one stands still while a machine sleeps. */
  freshUntil: number
  freshUntilDate: number
}

/** Tells whom access keys stand for (decision 0048). */
export class S3Credentials {
  readonly #options: S3CredentialsOptions
  readonly #service: S3Credential
  readonly #known = new LRUCache<string, Known>({
    maxSize: REMEMBERED_CHARACTERS,
    sizeCalculation: ({ row }) => 2 * row.length + 1000,
  })
  readonly #strangers = marks(FRESH_MS)
  readonly #looks = new SingleFlight<Known | null>()
  readonly #asStranger = limitConcurrency(STRANGERS_AT_ONCE)
  readonly #touched = marks(TOUCH_MS)
  readonly #touching = limitConcurrency(1)
  #warnedAt = Number.NEGATIVE_INFINITY

  constructor(options: S3CredentialsOptions) {
    this.#options = options
    const { accessKeyId: accessKey, secretAccessKey: secret } = options.own
    const claims = { role: 'service_role' }
    this.#service = {
      secret,
      identity: { role: 'service_role', subject: null, claims, token: '', accessKey },
    }
  }

  /**
   * Whom an access key stands for; null when nobody has it.
   *
   * @throws AccessKeyExpired, AccessKeyUnreadable, AccessDenied for a role that callers may not have any more;
   *   DatabaseUnavailable
   */
  find(accessKeyId: string): S3Credential | null | Promise<S3Credential | null> {
    if (accessKeyId === this.#options.own.accessKeyId) return this.#service
    if (!ACCESS_KEY_ID.test(accessKeyId)) return null
    const known = this.#known.get(accessKeyId)
    if (known && isFresh(known)) return credentialOf(known)
    if (!known && this.#strangers.has(accessKeyId)) return null
    return this.#ask(accessKeyId)
  }

  /** Notes that a signature has held. Never fails, and waits for nothing. */
  onUse(accessKeyId: string): void {
    if (!ACCESS_KEY_ID.test(accessKeyId) || this.#touched.has(accessKeyId)) return
    this.#touched.set(accessKeyId, true)
    const { database, logger } = this.#options
    this.#touching(() => asService(database, (tx) => touchCredential(tx, accessKeyId))).catch((err) =>
      logger.debug({ err }, 'the last use of an access key was not noted'),
    )
  }

  async #ask(accessKeyId: string): Promise<S3Credential | null> {
    const askedAt = performance.now()
    for (;;) {
      const look = () => this.#look(accessKeyId)
      const isKnown = this.#known.has(accessKeyId)
      const known = await this.#looks.of(accessKeyId, isKnown ? look : () => this.#asStranger(look))
      if (!known) return null
      // Of somebody who has begun to look long before; it may have been revoked since.
      if (known.freshUntil > askedAt) return credentialOf(known)
    }
  }

  async #look(accessKeyId: string): Promise<Known | null> {
    const now = performance.now()
    const found = await findCredential(this.#options.database, accessKeyId)
    if (!found) {
      this.#known.delete(accessKeyId)
      this.#strangers.set(accessKeyId, true)
      return null
    }
    const { lifetimeMs, ...rest } = found
    const isOver = lifetimeMs !== null && lifetimeMs <= 0
    const row = JSON.stringify([rest, isOver])
    const before = this.#known.get(accessKeyId)
    const outcome = before?.row === row ? before.outcome : this.#outcome(accessKeyId, found, isOver)
    const freshMs = isOver || lifetimeMs === null ? FRESH_MS : Math.min(FRESH_MS, lifetimeMs)
    const freshUntil = now + freshMs
    const freshUntilDate = Date.now() + freshUntil - performance.now()
    const known = { row, outcome, freshUntil, freshUntilDate }
    this.#known.set(accessKeyId, known)
    return known
  }

  #outcome(accessKeyId: string, found: FoundCredential, isOver: boolean): Outcome {
    const { seal, roles } = this.#options
    const { role, subject, claims } = found
    if (isOver) return { refusal: 'AccessKeyExpired' }
    if (!roles.includes(role)) return { refusal: 'AccessDenied' }
    const secret = seal.open(accessKeyId, found.sealedSecret)
    if (secret === null) {
      this.#warn(accessKeyId)
      return { refusal: 'AccessKeyUnreadable' }
    }
    // What a token of the same would say.
    const said = { ...claims, role, ...(subject !== null && { sub: subject }) }
    return { secret, identity: { role, subject, claims: said, token: '', accessKey: accessKeyId } }
  }

  #warn(accessKeyId: string): void {
    if (performance.now() - this.#warnedAt < WARNING_MS) return
    this.#warnedAt = performance.now()
    this.#options.logger.warn(
      { accessKeyId },
      'the secret of an access key does not open: it was sealed with another STORAGE_SIGNING_SECRET, or changed',
    )
  }
}

/** Access keys that something is known of, each for so many milliseconds by the clock on the wall. */
function marks(ttl: number): LRUCache<string, true> {
  return new LRUCache({ max: MOST_MARKS, ttl, ttlResolution: 0, perf: { now: () => Date.now() } })
}

function isFresh({ freshUntil, freshUntilDate }: Known): boolean {
  return performance.now() < freshUntil && Date.now() < freshUntilDate
}

function credentialOf({ outcome }: Known): S3Credential {
  if (!('refusal' in outcome)) return outcome
  const { refusal } = outcome
  const message = 'The role of the access key is not one that callers may have'
  throw new StorageError(refusal, refusal === 'AccessDenied' ? { message } : {})
}
