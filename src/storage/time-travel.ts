import { z } from 'zod'
import type { Database } from '../database/connection/client.ts'
import { bucketMemory, type NameAt, namesAt } from '../database/queries/version-times.ts'
import { parseJson } from '../lib/bounded-json.ts'
import { forEachConcurrent } from '../lib/concurrency.ts'
import type { Caller } from '../model/caller.ts'
import { type ErrorCode, StorageError } from '../model/errors.ts'
import type { SecretSeal } from './credentials/secret-seal.ts'
import type { FileStorage } from './file-storage.ts'
import { isTimestamp } from './object/list-cursor.ts'
import { isStorableText } from './object/object-name.ts'
import { openCursor, sealCursor } from './versions/sealed-cursor.ts'

export interface TimeTravelOptions {
  database: Pick<Database, 'run' | 'questions'>
  files: Pick<FileStorage, 'copy' | 'remove'>
  now: () => Date
  /** For places that clients hand back. */
  seal: SecretSeal
  /** After which a call begins nothing more, in milliseconds. */
  callMs?: number
}

export interface TimeTravelRequest {
  bucket: string
  /** What the names begin with. */
  prefix: string
  at: Date
  /** What they begin with where they are restored to; undefined: where they are, and what came later is deleted. */
  to?: string | undefined
  /** Only count. */
  dryRun?: boolean | undefined
  /** The most names of a call. */
  limit: number
  /** `next` of the call before. */
  cursor?: string | undefined
}

/** Why a name stays as it is: one of those of `NameAt`, or what its restore was refused with. */
export type Reason = NonNullable<NameAt['reason']> | ErrorCode

/** A name that was, or would be, changed, or could not be. Named as it is where it was looked for. */
export interface Travelled {
  name: string
  outcome: 'restored' | 'deleted' | 'unavailable'
  reason: Reason | null
}

export interface TimeTravelReport {
  restored: number
  deleted: number
  unchanged: number
  unavailable: number
  /** Some of them: those that are unavailable first. */
  sample: Travelled[]
  /** What was deleted before this moment may have left no trace. */
  historySince: Date | null
  /** How to go on; null when nothing is left. */
  next: string | null
}

/** How many names a report has that were changed, and as many that could not be. */
const SAMPLE = 100

/** Names that are worked on at once, between two looks at the clock. */
const AT_ONCE = 4

const CALL_MS = 10_000

/** Names that a call looks at, hidden ones and those that never had anything too. */
const LOOKS = 2000

const SEALED_FOR = 'a place in a restore'

/** What says nothing of the store as a whole, by whatever status it is answered. */
const OF_ITS_BYTES: ReadonlySet<ErrorCode> = new Set(['MissingBytes', 'CorruptedBytes'])

/**
 * Brings folders back to what they were (decision 0070). Nothing is lost by it: what is there now becomes a version, or goes into
 * the trash. Each name is a transaction of its own, as a copy or a deletion by the caller. Run again, after it was killed or not,
 * it finds done what is done.
 */
export class TimeTravel {
  readonly #options: TimeTravelOptions

  constructor(options: TimeTravelOptions) {
    this.#options = options
  }

  /**
   * Does the next of the names, in their order, for as long as a call may take, or as it may look for them. What the caller does not see stays as it is, and
   * is not told of; what he may not write is unavailable; and so is what was changed since the first call began.
   *
   * @param asker whose turn it takes (`Questions`)
   * @throws NoSuchBucket, InvalidParameter, TooManyQuestions, DatabaseTimeout, StorageFull, BackendUnavailable; FeatureNotEnabled
   *   when the bucket keeps nothing
   */
  async restore(caller: Caller, asker: string, request: TimeTravelRequest): Promise<TimeTravelReport> {
    const { database, now, seal, callMs = CALL_MS } = this.#options
    const { bucket, prefix, at, to, limit, dryRun = false } = request
    const sent = request.cursor
    const cursor = sent === undefined ? undefined : decodeCursor(openCursor(seal, SEALED_FOR, sent) ?? sent)
    if (!isStorableText(prefix) || !isStorableText(to ?? '')) throw new StorageError('InvalidKey')
    const memory = await bucketMemory(database, bucket)
    if (!memory) throw new StorageError('NoSuchBucket')
    if (!memory.keeps) {
      throw new StorageError('FeatureNotEnabled', {
        message: 'The bucket keeps neither versions nor a trash',
      })
    }

    const began = cursor?.began ?? memory.now
    const query = {
      bucketId: bucket,
      prefix,
      target: to ?? null,
      at,
      began,
      limit: limit + 1,
      mostLooks: LOOKS,
    }
    const { names: found, end } = await database.questions.ask(asker, (connection) =>
      namesAt(connection, caller, { ...query, afterName: cursor?.after ?? null }),
    )
    const names = found.slice(0, limit)
    const tally = new Tally()
    const deadline = now().getTime() + callMs
    let done = 0
    while (done < names.length && (done === 0 || dryRun || now().getTime() < deadline)) {
      const some = names.slice(done, done + AT_ONCE)
      const refusals = new Map<NameAt, Reason | null>()
      if (!dryRun) {
        await forEachConcurrent(AT_ONCE, some, async (name) => {
          refusals.set(name, await this.#refusal(caller, request, name))
        })
      }
      for (const name of some) tally.add(name, refusals.get(name) ?? null)
      done += some.length
    }
    const last = names[done - 1]
    let next: string | null = null
    if (found.length > done && last) next = encodeCursor({ after: last.name, began })
    else if (end !== null) next = sealCursor(seal, SEALED_FOR, encodeCursor({ after: end, began }))
    return { ...tally.report(), historySince: memory.reach, next }
  }

  /** Makes a name what it was. @returns why not, if it is not */
  async #refusal(caller: Caller, { bucket, at }: TimeTravelRequest, name: NameAt): Promise<Reason | null> {
    const { files } = this.#options
    const { outcome, targetName, current: isVersion } = name
    try {
      if (outcome === 'deleted') await files.remove(caller, bucket, targetName, { isVersion })
      if (outcome === 'restored') {
        await files.copy(caller, {
          from: { bucket, name: name.name, version: { at } },
          to: { bucket, name: targetName },
          upsert: true,
          condition: { isVersion },
          freesName: name.isFreedFirst,
          replace: undefined,
          keepsOwner: true,
        })
      }
      return null
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      if (error.code === 'PreconditionFailed') return 'changed'
      const isOfAll = error.status >= 500 || error.status === 429
      if (isOfAll && !OF_ITS_BYTES.has(error.code)) throw error
      return error.code
    }
  }
}

/** Counts what becomes of names. */
class Tally {
  readonly #counts = { restored: 0, deleted: 0, unchanged: 0, unavailable: 0 }
  readonly #changed: Travelled[] = []
  readonly #unavailable: Travelled[] = []

  add({ name, outcome: planned, reason: known }: NameAt, refusal: Reason | null): void {
    const outcome = refusal === null ? planned : 'unavailable'
    this.#counts[outcome]++
    if (outcome === 'unchanged') return
    const some = outcome === 'unavailable' ? this.#unavailable : this.#changed
    if (some.length < SAMPLE) some.push({ name, outcome, reason: refusal ?? known })
  }

  report() {
    return { ...this.#counts, sample: [...this.#unavailable, ...this.#changed] }
  }
}

/** Where a call ended, and when the first one began. Not signed: a made-up one only asks for other names, or leaves fewer alone. */
const cursorSchema = z.strictObject({
  after: z.string().refine(isStorableText),
  began: z.string().refine(isTimestamp),
})

/** In characters: the longest name with every character escaped still fits. */
const MAX_CURSOR = 40_000

function encodeCursor({ after, began }: z.infer<typeof cursorSchema>): string {
  return Buffer.from(JSON.stringify({ after, began })).toString('base64url')
}

/** @throws InvalidParameter for anything that `encodeCursor` cannot have made */
function decodeCursor(text: string): z.infer<typeof cursorSchema> {
  try {
    if (text.length > MAX_CURSOR) throw new Error('too long')
    const cursor = cursorSchema.parse(parseJson(Buffer.from(text, 'base64url').toString()))
    if (encodeCursor(cursor) !== text) throw new Error('spelled otherwise')
    return cursor
  } catch (cause) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid', cause })
  }
}
