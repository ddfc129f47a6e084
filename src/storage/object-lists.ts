import type { Database } from '../database/connection/client.ts'
import type { Questions } from '../database/connection/questions.ts'
import { type KeyEntry, type KeyQuery, listKeys } from '../database/queries/key-lists.ts'
import {
  type FolderQuery,
  type ListEntry,
  listFolder,
  listPage,
  type PageQuery,
} from '../database/queries/listing.ts'
import type { Caller } from '../model/caller.ts'
import { decodeCursor, encodeCursor, isTimestamp } from './object/list-cursor.ts'

export interface LevelRequest extends Pick<FolderQuery, 'search' | 'limit' | 'offset' | 'column' | 'order'> {
  /** A folder, with or without the slash at its end; '' is the top. */
  prefix: string
}

export interface PageRequest extends Pick<PageQuery, 'prefix' | 'delimited' | 'limit' | 'column' | 'order'> {
  /** Of the page before. Its column and order win. */
  cursor: string | undefined
}

export interface Page {
  entries: ListEntry[]
  /** How to ask for the next page, and the last name on this one. */
  next: { cursor: string; name: string } | null
}

export interface KeyPage {
  entries: KeyEntry[]
  /** Whether there are more behind them. */
  isTruncated: boolean
}

/**
 * The lists of objects. All show what the caller's policies let them see, and an unknown bucket is empty. An asker
 * who has asked for much waits for their own turn (`Questions`): all throw TooManyQuestions and DatabaseTimeout.
 */
export class ObjectLists {
  readonly #questions: Questions
  readonly #exactFolders: boolean

  /** @param options.exactFolders whether folders that differ in case alone are apart in list v1 */
  constructor({ database, exactFolders }: { database: Pick<Database, 'questions'>; exactFolders: boolean }) {
    this.#questions = database.questions
    this.#exactFolders = exactFolders
  }

  /** One level of a folder (wire §3.12). */
  level(caller: Caller, asker: string, bucketId: string, request: LevelRequest): Promise<ListEntry[]> {
    const { prefix } = request
    const folder = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
    return this.#questions.ask(asker, (database) =>
      listFolder(database, caller, { ...request, bucketId, folder, exactFolders: this.#exactFolders }),
    )
  }

  /**
   * A page of full names (wire §3.13).
   *
   * @throws InvalidParameter when the cursor is not one of ours
   */
  async page(caller: Caller, asker: string, bucketId: string, request: PageRequest): Promise<Page> {
    const cursor = request.cursor === undefined ? undefined : decodeCursor(request.cursor)
    const { column, order } = cursor ?? request
    const query: PageQuery = {
      bucketId,
      prefix: request.prefix,
      delimited: request.delimited,
      limit: request.limit + 1, // one more shows whether there is a next page
      after: cursor?.after ?? null,
      afterTime: cursor?.timestamp ?? null,
      column,
      order,
    }
    const found = await this.#questions.ask(asker, (database) => listPage(database, caller, query))
    const entries = found.slice(0, request.limit)
    const last = entries.at(-1)
    if (found.length <= request.limit || last === undefined) return { entries, next: null }
    const moment = column === 'updated_at' ? last.exact.updatedAt : last.exact.createdAt
    const timed = moment !== null && isTimestamp(moment) && { timestamp: moment }
    const place = { after: last.name, order, column, ...timed }
    return { entries, next: { cursor: encodeCursor(place), name: last.name } }
  }

  /** A page of keys of S3 (decision 0050). */
  async keys(
    caller: Caller,
    asker: string,
    bucketId: string,
    request: Omit<KeyQuery, 'bucketId'>,
  ): Promise<KeyPage> {
    const { limit } = request
    if (limit === 0) return { entries: [], isTruncated: false }
    const query = { ...request, bucketId, limit: limit + 1 } // one more shows whether there are more
    const found = await this.#questions.ask(asker, (database) => listKeys(database, caller, query))
    return { entries: found.slice(0, limit), isTruncated: found.length > limit }
  }
}
