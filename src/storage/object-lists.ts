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
import {
  listVersions,
  type VersionEntry,
  type VersionList,
  type VersionQuery,
} from '../database/queries/object-versions.ts'
import type { Caller } from '../model/caller.ts'
import { StorageError } from '../model/errors.ts'
import type { SecretSeal } from './credentials/secret-seal.ts'
import {
  decodeCursor,
  encodeCursor,
  isTimestamp,
  isVersionPlace,
  type ListCursor,
} from './object/list-cursor.ts'
import { isStorableText } from './object/object-name.ts'
import { openCursor, sealCursor } from './versions/sealed-cursor.ts'

export interface LevelRequest extends Pick<FolderQuery, 'search' | 'limit' | 'offset' | 'column' | 'order'> {
  /** A folder, with or without the slash at its end; '' is the top. */
  prefix: string
}

export interface PageRequest extends Pick<PageQuery, 'prefix' | 'delimited' | 'limit' | 'column' | 'order'> {
  /** Of the page before. Its column and order win. */
  cursor: string | undefined
}

/** Which versions: these, or those of a moment. */
export type ListedVersions = Pick<VersionQuery, 'noncurrent' | 'markers' | 'exact'> | { at: Date }

/** Versions are listed by name alone. */
export interface VersionsRequest extends Pick<VersionQuery, 'limit'> {
  which: ListedVersions
  prefix: string
}

export interface Page<Entry = ListEntry> {
  entries: Entry[]
  /** How to ask for the next page, and the last name on this one, if there is any. */
  next: { cursor: string; name: string | null } | null
}

export interface ListOptions {
  database: Pick<Database, 'questions'>
  exactFolders: boolean
  seal: SecretSeal
}

/** A page of S3's versions. */
export interface VersionPage {
  entries: VersionEntry[]
  /** Whether there are more behind them. */
  isTruncated: boolean
}

export interface KeyPage {
  entries: KeyEntry[]
  /** Whether there are more behind them. */
  isTruncated: boolean
}

/** Rows that one page of versions looks at. */
const PAGE_LOOKS = 2000

const SEALED_FOR = 'a place in a list'

/**
 * The lists of objects. All show what the caller's policies let them see, and an unknown bucket is empty. An asker
 * who has asked for much waits for their own turn (`Questions`): all throw TooManyQuestions and DatabaseTimeout.
 */
export class ObjectLists {
  readonly #questions: Questions
  readonly #exactFolders: boolean
  readonly #seal: SecretSeal

  /**
   * @param options.exactFolders whether folders that differ in case alone are apart in list v1
   * @param options.seal for places that clients hand back
   */
  constructor({ database, exactFolders, seal }: ListOptions) {
    this.#questions = database.questions
    this.#exactFolders = exactFolders
    this.#seal = seal
  }

  /** One level of a folder (wire §3.12). */
  level(caller: Caller, asker: string, bucketId: string, request: LevelRequest): Promise<ListEntry[]> {
    const folder = asFolder(request.prefix)
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

  /** One level of a folder, with what was there (wire §13.2). Names are relative to it. */
  async levelOfVersions(
    caller: Caller,
    asker: string,
    bucketId: string,
    { which, prefix, search, offset, limit }: VersionsRequest & { search: string; offset: number },
  ): Promise<VersionEntry[]> {
    const isExact = 'exact' in which && which.exact
    const folder = isExact ? prefix.replace(/[^/]*$/, '') : asFolder(prefix)
    const { entries } = await this.#versions(caller, asker, which, {
      bucketId,
      prefix: isExact ? prefix : folder + search,
      delimiter: '/',
      afterName: null,
      afterVersion: null,
      limit,
      offset,
      mostLooks: null,
    })
    return entries.map((entry) => ({ ...entry, name: entry.name.slice(folder.length).replace(/\/$/, '') }))
  }

  /**
   * A page of full names, with what was there. It may have fewer entries than it might, or none, though there are more behind them.
   *
   * @throws InvalidParameter when the cursor is not one of ours
   */
  async pageOfVersions(
    caller: Caller,
    asker: string,
    bucketId: string,
    { which, prefix, limit, ...request }: VersionsRequest & Pick<PageRequest, 'delimited' | 'cursor'>,
  ): Promise<Page<VersionEntry>> {
    const sent = request.cursor
    const cursor =
      sent === undefined ? undefined : decodeCursor(openCursor(this.#seal, SEALED_FOR, sent) ?? sent)
    const { entries: found, end } = await this.#versions(caller, asker, which, {
      bucketId,
      prefix,
      delimiter: request.delimited ? '/' : '',
      afterName: cursor?.after ?? null,
      afterVersion: cursor?.version ?? null,
      limit: limit + 1,
      offset: 0,
      mostLooks: PAGE_LOOKS,
    })
    const entries = found.slice(0, limit)
    const last = entries.at(-1)
    if (found.length > limit && last) {
      return { entries, next: { cursor: encodeCursor(cursorBehind(last)), name: last.name } }
    }
    if (end === null) return { entries, next: null }
    const place = sealCursor(this.#seal, SEALED_FOR, encodeCursor(cursorBehind(end)))
    return { entries, next: { cursor: place, name: last?.name ?? null } }
  }

  #versions(
    caller: Caller,
    asker: string,
    which: ListedVersions,
    query: Omit<VersionQuery, 'noncurrent' | 'markers' | 'exact' | 'at'>,
  ): Promise<VersionList> {
    const kinds = { noncurrent: 'exclude', markers: 'exclude', exact: false, at: null } as const
    return this.#questions.ask(asker, (database) =>
      listVersions(database, caller, { ...query, ...kinds, ...which }),
    )
  }

  /**
   * What one name has and had, newest first.
   *
   * @param request.cursor `next` of the page before
   * @throws InvalidParameter when it is not one of ours
   */
  async history(
    caller: Caller,
    asker: string,
    bucketId: string,
    { name, limit, cursor }: { name: string; limit: number; cursor: string | undefined },
  ): Promise<{ entries: VersionEntry[]; next: string | null }> {
    const query: VersionQuery = {
      bucketId,
      prefix: name,
      delimiter: '',
      afterName: cursor === undefined ? null : name,
      afterVersion: cursor ?? null,
      limit: limit + 1,
      offset: 0,
      noncurrent: 'include',
      markers: 'include',
      exact: true,
      at: null,
      mostLooks: null,
    }
    if (cursor !== undefined && !isVersionPlace(cursor)) {
      throw new StorageError('InvalidParameter', { message: 'The cursor is not valid' })
    }
    if (!isStorableText(name)) return { entries: [], next: null }
    const { entries: found } = await this.#questions.ask(asker, (database) =>
      listVersions(database, caller, query),
    )
    const entries = found.slice(0, limit)
    const last = entries.at(-1)
    return { entries, next: found.length > limit && last ? placeOf(last) : null }
  }

  /**
   * A page of all that names have and had, each name's newest first.
   *
   * @param request.afterVersion with a dot and the number of that version behind it, which may be gone by now
   */
  async versions(
    caller: Caller,
    asker: string,
    bucketId: string,
    request: Pick<VersionQuery, 'prefix' | 'delimiter' | 'afterName' | 'afterVersion' | 'limit'>,
  ): Promise<VersionPage> {
    const { limit } = request
    if (limit === 0) return { entries: [], isTruncated: false }
    const query: VersionQuery = {
      ...request,
      bucketId,
      limit: limit + 1,
      offset: 0,
      noncurrent: 'include',
      markers: 'include',
      exact: false,
      at: null,
      mostLooks: null,
    }
    const { entries: found } = await this.#questions.ask(asker, (database) =>
      listVersions(database, caller, query),
    )
    return { entries: found.slice(0, limit), isTruncated: found.length > limit }
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

/** Where a list goes on behind an entry, also if that is gone by then. */
export function placeOf({ version, versioning }: VersionEntry): string {
  return `${version ?? ''}.${versioning?.number ?? 1}`
}

function cursorBehind(entry: VersionEntry): ListCursor {
  const version = entry.isFolder ? {} : { version: placeOf(entry) }
  return { after: entry.name, order: 'asc', column: 'name', ...version }
}

function asFolder(prefix: string): string {
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
}
