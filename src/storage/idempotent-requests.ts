import { createHash, createHmac, randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Database } from '../database/connection/client.ts'
import { isCertainlyRolledBack } from '../database/connection/postgres-error.ts'
import { type HeldKey, holdKey, leaveKey, settleKey, takeKey } from '../database/queries/idempotency-keys.ts'
import { StorageError } from '../model/errors.ts'
import type { SecretSeal } from './credentials/secret-seal.ts'

export interface IdempotentRequestsOptions {
  database: Pick<Database, 'run'>
  logger: Logger
  /** An answer may have a secret that is told once, such as the token of a share, and so may a note. */
  seal: SecretSeal
  /** Keys that one caller who is not the service may use in a day. */
  mostOfOne?: number
  /** How long a key is held by whom nothing is heard of: so long after a crash it is usable again. In milliseconds. */
  holdMs?: number
}

export interface IdempotentRequest<Note, Answer> {
  /** As the client sent it; undefined: what it asks for is done each time. */
  key: string | undefined
  /** Whose it is: others' keys are others. */
  who: string
  /** The service may use as many keys as it likes. */
  isService: boolean
  /** A hash of all that the request says, or null when only its body can tell. */
  request: string | null
  /** What makes the work the same when it is done again, such as the id of what it makes: it is kept before it begins. */
  note: () => Note
  /**
   * Does it. With `isAgain` somebody with that note may have done it already, or a part of it, and died before it was
   * answered: then this finds what there is.
   *
   * @returns what JSON can hold of the answer, and the hash of the request
   */
  work: (note: Note, isAgain: boolean) => Promise<{ answer: Answer; request: string }>
  /** Where only the body can tell: reads it to its end, for nothing but its hash. */
  reread?: () => Promise<string>
}

/** How long nothing may be heard of whoever holds a key. In milliseconds. */
const HOLD_MS = 30_000

/** So often he is heard of in that time. */
const HOLDS = 3

/** Each is a row for a day, beside what its request makes: so many that nobody sends them by hand, and few enough for the table. */
const MOST_OF_ONE = 10_000

/** In characters. */
const MAX_KEY = 255

/**
 * Requests that clients may send again without its being done twice (`Idempotency-Key`, decision 0073): for a day the same key
 * and the same request are the same answer. What was refused was not done, and its key can be used anew.
 */
export class IdempotentRequests {
  readonly #options: IdempotentRequestsOptions

  constructor(options: IdempotentRequestsOptions) {
    this.#options = options
  }

  /**
   * @returns what it is answered, and whether that was told before
   * @throws IdempotencyKeyReused for another request, or when what was kept of the first one does not open any more;
   *   IdempotencyKeyInUse while the first one is at work; TooManyIdempotencyKeys; and as `work`
   */
  async once<Note, Answer>(
    asked: IdempotentRequest<Note, Answer>,
  ): Promise<{ answer: Answer; isReplay: boolean }> {
    const { key, who, isService, request, note, work, reread } = asked
    if (key === undefined) return { answer: (await work(note(), false)).answer, isReplay: false }
    const { database, holdMs = HOLD_MS, mostOfOne = MOST_OF_ONE } = this.#options
    const held = { id: idOf(who, key), holder: randomUUID() }
    // A request may have a password, which a plain hash would let others guess: keys are random where that matters.
    const marked = (hash: string) => createHmac('sha256', key).update(hash).digest('base64url')
    const taken = await takeKey(database, held, {
      owner: hashOf(who),
      most: isService ? null : mostOfOne,
      request: request && marked(request),
      note: this.#sealed('note', held, note()),
      holdMs,
    })
    switch (taken.outcome) {
      case 'full':
        throw new StorageError('TooManyIdempotencyKeys')
      case 'held':
        throw new StorageError('IdempotencyKeyInUse')
      case 'other':
        throw new StorageError('IdempotencyKeyReused')
      case 'done': {
        const asks = request ?? (await reread?.())
        if (asks === undefined || marked(asks) !== taken.request)
          throw new StorageError('IdempotencyKeyReused')
        return { answer: this.#opened<Answer>('answer', held, taken.answer), isReplay: true }
      }
      default: {
        // As `note` has made it, here or in another process.
        const isAgain = taken.outcome === 'again'
        const answer = await this.#holding(held, isAgain, async () => {
          const done = await work(this.#opened<Note>('note', held, taken.note), isAgain)
          return { ...done, request: marked(done.request) }
        })
        return { answer, isReplay: false }
      }
    }
  }

  #sealed(part: 'note' | 'answer', { id }: HeldKey, value: unknown): string {
    return this.#options.seal.seal(purposeOf(part, id), JSON.stringify(value))
  }

  /** @throws IdempotencyKeyReused once the secret that it was sealed with is gone: nobody can tell what was done */
  #opened<T>(part: 'note' | 'answer', { id }: HeldKey, sealed: string): T {
    const text = this.#options.seal.open(purposeOf(part, id), sealed)
    if (text === null) throw new StorageError('IdempotencyKeyReused')
    return JSON.parse(text) as T // as `#sealed` was given it
  }

  async #holding<Answer>(
    held: HeldKey,
    isAgain: boolean,
    work: () => Promise<{ answer: Answer; request: string }>,
  ): Promise<Answer> {
    const { database, logger, holdMs = HOLD_MS } = this.#options
    const timer = setInterval(() => {
      holdKey(database, held, holdMs).catch((error: unknown) => {
        logger.warn({ err: error }, 'a request could not say that it is still at work')
      })
    }, holdMs / HOLDS)
    let done: { answer: Answer; request: string }
    try {
      done = await work()
    } catch (error) {
      // What is a fault of ours may have come behind what was done.
      const isRefusal = error instanceof StorageError && error.status < 500
      // And what a former one has done is not known by a refusal of this one.
      const isUndone = !isAgain && isRefusal && isCertainlyRolledBack(error)
      await leaveKey(database, held, isUndone).catch((cause: unknown) => {
        logger.warn({ err: cause }, 'the key of a request is left to itself')
      })
      throw error
    } finally {
      clearInterval(timer)
    }
    // Done is done: whoever sends it again finds by its note what there is.
    await settleKey(database, held, done.request, this.#sealed('answer', held, done.answer)).catch(
      (cause: unknown) => {
        logger.warn({ err: cause }, 'the answer of a request could not be kept')
      },
    )
    return done.answer
  }
}

/** The key as a client has sent it. @throws InvalidRequest */
export function parseIdempotencyKey(header: string | undefined): string | undefined {
  if (header === undefined) return undefined
  if (/^[\x21-\x7e]+(?: [\x21-\x7e]+)*$/.test(header) && header.length <= MAX_KEY) return header
  throw new StorageError('InvalidRequest', {
    message: `Idempotency-Key must have 1 to ${MAX_KEY} characters of printable ASCII`,
  })
}

/** A hash of what a request says, in JSON of one order. */
export function requestHash(...said: unknown[]): string {
  return createHash('sha256').update(JSON.stringify(said)).digest('base64url')
}

function idOf(who: string, key: string): Buffer {
  return hashOf(JSON.stringify([who, key]))
}

function hashOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function purposeOf(part: 'note' | 'answer', id: Buffer): string {
  return `${part} of the request ${id.toString('base64url')}`
}
