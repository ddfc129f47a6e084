import type { Caller } from '../../model/caller.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import type { AccessLevel, AssetType } from '../../model/object-attributes.ts'
import { callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'
import { asEntry, type EntryRow, type ListEntry } from './listing.ts'

/** What a list shows: what all of these let through. */
export interface ListFilter {
  ownerId?: string | undefined
  organizationId?: string | undefined
  accessLevel?: AccessLevel | undefined
  /** Types of content, whatever their parameters; with a star at the end, those that begin so. */
  contentTypes?: string[] | undefined
  /** What says that it is this, or says nothing and is it by its content type, or for `isOther` by none of these. */
  assetType?: { type: AssetType; isOther: boolean; contentTypes: string[] } | undefined
  /** All of them. */
  tags?: string[] | undefined
  /** One of them at least. */
  anyTags?: string[] | undefined
  /** In the user metadata. */
  metadata?: UserMetadata | undefined
  createdAfter?: Date | undefined
  createdBefore?: Date | undefined
  /** In bytes. */
  minSize?: number | undefined
  maxSize?: number | undefined
  /** In the name, whatever its case. */
  search?: string | undefined
  /** Whether nothing can be so. */
  isNothing?: boolean | undefined
}

/** A place in an order: up to where a page has come. */
export interface FilteredPlace {
  bucket: string
  name: string
  /** As PostgreSQL prints it; null when sorted by name. */
  time: string | null
}

export interface FilteredQuery {
  /** Null is all of them. By time that takes an owner or an organisation. */
  bucketId: string | null
  prefix: string
  filter: ListFilter
  limit: number
  /** Entries that are passed over. */
  skip: number
  /** How many rows an index may find, at most; half as many are looked through without one, and a quarter judged. */
  mostLooks: number
  after: FilteredPlace | null
  /** Whether the page before has found no index for it. */
  isWalk: boolean
  column: 'name' | 'updated_at' | 'created_at'
  order: 'asc' | 'desc'
  /** Whether the entries have their user metadata. */
  withMetadata: boolean
}

export interface FilteredEntry extends ListEntry {
  bucket: string
  /** Null when the bucket has gone meanwhile. */
  bucketUid: string | null
  tags: string[]
  userMetadata: UserMetadata | null
}

/** A part of a list, and where and how it goes on; null at its end. */
export interface FilteredList {
  entries: FilteredEntry[]
  end: { place: FilteredPlace; skip: number; isWalk: boolean } | null
}

/**
 * Objects that match and the caller sees, in order of their bucket and name, or of a time. There may be fewer than `limit`, or none,
 * though there are more behind them: it looks at so much and no more.
 */
export async function listFiltered(
  database: Pick<Database, 'run'>,
  caller: Caller,
  { after, filter, ...query }: FilteredQuery,
): Promise<FilteredList> {
  const rows = await database.run(LIST_FILTERED, {
    ...query,
    filter: JSON.stringify(filterJson(filter)),
    afterBucket: after?.bucket ?? null,
    afterName: after?.name ?? null,
    afterTime: after?.time ?? null,
    context: callerContext(caller),
  })
  const last = rows.at(-1)
  return {
    entries: rows
      .filter((row) => row.is_seen)
      .map((row) => ({
        ...asEntry({ ...row, is_folder: false }),
        bucket: row.bucket_id,
        bucketUid: row.bucket_uid,
        tags: row.tags ?? [],
        userMetadata: row.user_metadata,
      })),
    end:
      last && !last.is_seen
        ? {
            place: { bucket: last.bucket_id, name: last.name, time: last.created_at },
            skip: last.left_to_skip,
            isWalk: last.is_walked,
          }
        : null,
  }
}

/** As drizzle/functions/filters.sql reads it. */
export function filterJson(filter: ListFilter): Record<string, unknown> {
  const { assetType, createdAfter, createdBefore } = filter
  const json = {
    owner_id: filter.ownerId,
    organization_id: filter.organizationId,
    access_level: filter.accessLevel,
    content_types: filter.contentTypes,
    asset_type: assetType && {
      type: assetType.type,
      is_other: assetType.isOther,
      content_types: assetType.contentTypes,
    },
    tags: filter.tags,
    any_tags: filter.anyTags,
    metadata: filter.metadata,
    created:
      createdAfter || createdBefore
        ? { after: createdAfter?.toISOString() ?? null, before: createdBefore?.toISOString() ?? null }
        : undefined,
    min_size: filter.minSize,
    max_size: filter.maxSize,
    search: filter.search,
    nothing: filter.isNothing ? true : undefined,
  }
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== undefined))
}

type Parameters = Omit<FilteredQuery, 'filter' | 'after'> & {
  filter: string
  afterBucket: string | null
  afterName: string | null
  afterTime: string | null
  context: string
}

interface FilteredRow extends Omit<EntryRow, 'is_folder'> {
  is_seen: boolean
  left_to_skip: number
  is_walked: boolean
  bucket_id: string
  bucket_uid: string | null
  tags: string[] | null
  user_metadata: UserMetadata | null
}

const LIST_FILTERED = new Statement<Parameters, FilteredRow>(`
  select * from storage.list_filtered_as(:bucketId, :prefix, :filter::jsonb, :limit::integer, :skip::integer, :mostLooks::integer,
    :afterBucket, :afterName, :afterTime::timestamptz, :isWalk, :column, :order, :withMetadata, :context)`)
