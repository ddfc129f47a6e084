import { z } from 'zod'
import type { Database } from '../database/connection/client.ts'
import type { Questions } from '../database/connection/questions.ts'
import {
  type FilteredEntry,
  type FilteredPlace,
  type FilteredQuery,
  type ListFilter,
  listFiltered,
} from '../database/queries/filtered-list.ts'
import { parseJson } from '../lib/bounded-json.ts'
import type { Caller } from '../model/caller.ts'
import { StorageError } from '../model/errors.ts'
import type { SecretSeal } from './credentials/secret-seal.ts'
import { isStorableText } from './object/object-name.ts'
import { openCursor, sealCursor } from './versions/sealed-cursor.ts'

/** Rows that one page looks at, by an index; half of them without one. */
const PAGE_LOOKS = 20_000

export interface FilteredRequest
  extends Pick<FilteredQuery, 'bucketId' | 'prefix' | 'limit' | 'column' | 'order' | 'withMetadata'> {
  filter: ListFilter
  /** Of the page before. Its column and order win, and what it has not passed over yet. */
  cursor: string | undefined
  /** Entries that the first page passes over. */
  offset: number
}

export interface FilteredPage {
  entries: FilteredEntry[]
  /** How to ask for the next page; null after the last one. */
  cursor: string | null
}

/** The lists of objects that are so and so (decision 0077). */
export class FilteredLists {
  readonly #questions: Questions
  readonly #seal: SecretSeal

  /** @param options.seal for places that clients hand back */
  constructor({ database, seal }: { database: Pick<Database, 'questions'>; seal: SecretSeal }) {
    this.#questions = database.questions
    this.#seal = seal
  }

  /**
   * A page of full names. It may have fewer entries than it might, or none, though there are more behind them.
   *
   * @throws InvalidParameter when the cursor is not one of ours, and for an order that there is not over all buckets
   * @throws TooManyQuestions, DatabaseTimeout as other lists
   */
  async page(
    caller: Caller,
    asker: string,
    { cursor: sent, offset, ...request }: FilteredRequest,
  ): Promise<FilteredPage> {
    const cursor = sent === undefined ? undefined : decodeCursor(this.#seal, sent)
    const { column, order } = cursor ?? request
    const { bucketId, filter } = request
    if (
      bucketId === null &&
      column !== 'name' &&
      (column !== 'created_at' || (filter.ownerId ?? filter.organizationId) === undefined)
    ) {
      throw new StorageError('InvalidParameter', {
        message: 'Over all buckets, sortBy is name, or created_at with an owner_id or an organization_id',
      })
    }
    if (bucketId !== null && !isStorableText(bucketId)) return { entries: [], cursor: null }
    const { entries, end } = await this.#questions.ask(asker, (database) =>
      listFiltered(database, caller, {
        ...request,
        column,
        order,
        skip: cursor?.skip ?? offset,
        after: cursor?.place ?? null,
        isWalk: cursor?.isWalk ?? false,
        mostLooks: PAGE_LOOKS,
      }),
    )
    return { entries, cursor: end && encodeCursor(this.#seal, { ...end, column, order }) }
  }
}

/**
 * Where a page of a list with filters has ended, which may be at what the caller may not see: so it is sealed always, as that of the
 * trash (storage/versions/trash-cursor.ts). Its order wins over that of later requests; the filters are said again with each.
 */
interface FilteredCursor {
  place: FilteredPlace
  /** Entries that are still passed over. */
  skip: number
  isWalk: boolean
  column: 'name' | 'updated_at' | 'created_at'
  order: 'asc' | 'desc'
}

const text = z.string().refine(isStorableText)

const cursorSchema = z.strictObject({
  place: z.strictObject({ bucket: text, name: text, time: z.string().nullable() }),
  skip: z.int().min(0),
  isWalk: z.boolean(),
  column: z.enum(['name', 'updated_at', 'created_at']),
  order: z.enum(['asc', 'desc']),
})

/** In characters: the longest names with every character escaped still fit. */
const MAX_LENGTH = 40_000

const SEALED_FOR = 'a place in a list with filters'

function encodeCursor(seal: SecretSeal, cursor: FilteredCursor): string {
  return sealCursor(seal, SEALED_FOR, JSON.stringify(cursor))
}

/** @throws InvalidParameter for anything that `encodeCursor` has not made, or not with these secrets */
function decodeCursor(seal: SecretSeal, sent: string): FilteredCursor {
  try {
    if (sent.length > MAX_LENGTH) throw new Error('too long')
    return cursorSchema.parse(parseJson(openCursor(seal, SEALED_FOR, sent) ?? ''))
  } catch (cause) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid', cause })
  }
}
