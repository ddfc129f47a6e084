import type { Caller } from '../../model/caller.ts'
import type { LifecycleItem } from '../../model/lifecycle-rule.ts'
import { callerContext } from '../as-caller.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { bytesOrNull, dateOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'

/*
 * What rules of lifecycle policies may be about, read page by page along an index, and how it is taken away. For the service.
 */

/** A page's place: what begins with the prefix, from after the last one of the page before. */
interface Place {
  bucket: string
  prefix: string
  limit: number
}

/** An object, with what says whether it is still the same one. */
export interface ObjectItem extends LifecycleItem {
  version: string | null
  /** In full, as PostgreSQL prints it. */
  exactUpdatedAt: string | null
}

/** Objects by their names. */
export async function objectPage(
  tx: Transaction,
  place: Place & { after: string | null },
): Promise<ObjectItem[]> {
  const rows = await tx.run(OBJECTS, place)
  return rows.map((row) => ({
    ...sizeAndType(row),
    kind: 'object',
    name: row.name,
    version: row.version,
    createdAt: dateOrNull(row.created_at),
    updatedAt: dateOrNull(row.updated_at),
    exactUpdatedAt: row.updated_at,
    archivedAt: null,
    newerVersions: 0,
    isLatest: false,
    isAlone: false,
  }))
}

const OBJECTS = new Statement<
  Place & { after: string | null },
  SizeAndType & { name: string; version: string | null; created_at: string | null; updated_at: string | null }
>(`
  select o.name, o.version, o.created_at, o.updated_at, o.metadata ->> 'mimetype' as type, o.tags,
    case when jsonb_typeof(o.metadata -> 'size') = 'number' then (o.metadata ->> 'size')::numeric end as size
  from storage.objects o
  where o.bucket_id = :bucket and o.name collate "C" >= :prefix and o.name collate "C" < storage.prefix_end(:prefix)
    and (:after::text is null or o.name collate "C" > :after)
  order by o.name collate "C" limit :limit`)

/** What was there before, with what it takes to know which of its name it is. */
export interface FormerItem extends LifecycleItem {
  sequence: string
  /** The id that the wire knows. */
  version: string
  /** Whether nobody may remove it now. */
  isLocked: boolean
}

/** Where a page of former ones ends. */
export interface FormerPlace {
  name: string
  sequence: string
  /** How many versions of that name were passed. */
  newerVersions: number
  /** Since when what came last of it was there. */
  since: Date | null
}

/** Versions, markers and the trash, names from the last one on, and each name's newest first: so it is known what is newer. */
export async function formerPage(
  tx: Transaction,
  place: Place,
  after: FormerPlace | null,
): Promise<{ items: FormerItem[]; end: FormerPlace | null }> {
  const rows = await tx.run(FORMER, {
    ...place,
    name: after?.name ?? null,
    sequence: after?.sequence ?? null,
  })
  let end = after
  const items = rows.map((row): FormerItem => {
    const before = end?.name === row.name ? end : null
    const newerVersions = before?.newerVersions ?? 0
    const archivedAt = dateOrNull(row.archived_at)
    const isMarker = row.kind === 'delete_marker'
    end = {
      name: row.name,
      sequence: row.sequence,
      newerVersions: newerVersions + (row.kind === 'version' ? 1 : 0),
      since: row.kind === 'trash' ? (before?.since ?? null) : dateOrNull(row.valid_from),
    }
    return {
      ...sizeAndType(row),
      kind: row.kind === 'delete_marker' ? 'marker' : row.kind,
      name: row.name,
      sequence: row.sequence,
      version: row.version,
      createdAt: dateOrNull(row.valid_from),
      updatedAt: null,
      // What a marker says holds until something else has its name; the latest one counts from when it was made.
      archivedAt: isMarker ? (before?.since ?? dateOrNull(row.replaced_at) ?? archivedAt) : archivedAt,
      newerVersions,
      isLatest: isMarker && !before?.since && row.replaced_at === null,
      isAlone: row.is_alone === true,
      isLocked: row.is_locked,
    }
  })
  return { items, end }
}

const FORMER = new Statement<
  Place & { name: string | null; sequence: string | null },
  SizeAndType & {
    sequence: string
    kind: 'version' | 'delete_marker' | 'trash'
    name: string
    version: string
    valid_from: string
    archived_at: string
    replaced_at: string | null
    is_alone: boolean | null
    is_locked: boolean
  }
>(`
  select v.sequence::text, v.kind, v.name, v.version, v.valid_from, v.archived_at, v.size,
    v.object_row #>> '{metadata,mimetype}' as type,
    array(select jsonb_array_elements_text(v.object_row -> 'tags')) as tags,
    case when v.kind = 'delete_marker' then (
      select coalesce(o.current_since, o.updated_at) from storage.objects o where o.bucket_id = v.bucket_id and o.name = v.name
    ) end as replaced_at,
    case when v.kind = 'delete_marker' then storage.is_alone(v) end as is_alone,
    b.object_lock and v.kind <> 'delete_marker' and storage.lock_of(v.bucket_id, v.version, v.valid_from) is not null as is_locked
  from storage.object_versions v join storage.buckets b on b.id = v.bucket_id
  where v.bucket_id = :bucket and v.name >= :prefix and v.name < storage.prefix_end(:prefix)
    and (:name::text is null or (v.name, v.sequence) < (:name collate "C", :sequence::bigint))
  order by v.name desc, v.sequence desc limit :limit`)

/** An upload that has not come to its end. */
export interface UploadItem extends LifecycleItem {
  id: string
  createdAt: Date
  exactCreatedAt: string
}

/** Unfinished uploads by their age, the oldest first. */
export async function uploadPage(
  tx: Transaction,
  place: { bucket: string; limit: number },
  after: Pick<UploadItem, 'id' | 'exactCreatedAt'> | null,
): Promise<UploadItem[]> {
  const rows = await tx.run(UPLOADS, {
    ...place,
    id: after?.id ?? null,
    createdAt: after?.exactCreatedAt ?? null,
  })
  return rows.map((row) => ({
    kind: 'upload',
    id: row.id,
    name: row.name,
    createdAt: new Date(row.created_at),
    exactCreatedAt: row.created_at,
    updatedAt: null,
    archivedAt: null,
    size: null,
    contentType: null,
    tags: [],
    newerVersions: 0,
    isLatest: false,
    isAlone: false,
  }))
}

const UPLOADS = new Statement<
  { bucket: string; limit: number; id: string | null; createdAt: string | null },
  { id: string; name: string; created_at: string }
>(`
  select r.id, r.name, r.created_at from storage.resumable_uploads r
  where r.bucket_id = :bucket and r.ended is null
    and (:id::uuid is null or (r.created_at, r.id) > (:createdAt::timestamptz, :id::uuid))
  order by r.created_at, r.id limit :limit`)

/**
 * Deletes those of these objects that are still what they were and that nobody is changing now.
 *
 * @returns the names of those that are gone
 * @throws what a trigger or a reference says of any of them
 */
export async function expireObjects(
  tx: Transaction,
  caller: Caller,
  bucket: string,
  items: ObjectItem[],
): Promise<Set<string>> {
  const rows = await tx.run(EXPIRE_OBJECTS, {
    bucket,
    names: items.map(({ name }) => name),
    versions: items.map(({ version }) => version),
    updated: items.map(({ exactUpdatedAt }) => exactUpdatedAt),
    context: callerContext(caller),
  })
  return new Set(rows.map(({ name }) => name))
}

const EXPIRE_OBJECTS = new Statement<
  {
    bucket: string
    names: string[]
    versions: (string | null)[]
    updated: (string | null)[]
    context: string
  },
  { name: string }
>(`
  select e as name from storage.expire_objects(:bucket, :names::text[], :versions::text[], :updated::text[]::timestamptz[],
    :context) e`)

/**
 * Deletes those of these former ones that are still to be deleted.
 *
 * @param items `keep` of each: how many newer versions it must have; `alone`: whether it must be all that there is of its name
 * @returns the sequences of those that are gone
 * @throws ObjectLocked when somebody has locked one at this moment
 */
export async function expireVersions(
  tx: Transaction,
  items: { sequence: string; keep: number; alone: boolean }[],
): Promise<Set<string>> {
  const rows = await tx.run(EXPIRE, {
    sequences: items.map(({ sequence }) => sequence),
    // As texts: the driver would take the type of the first one for that of the whole.
    keeps: items.map(({ keep }) => String(keep)),
    alone: items.map(({ alone }) => String(alone)),
  })
  return new Set(rows.map((row) => row.sequence))
}

const EXPIRE = new Statement<{ sequences: string[]; keeps: string[]; alone: string[] }, { sequence: string }>(
  'select e::text as sequence from storage.expire_versions(:sequences::text[]::bigint[], :keeps::text[]::integer[], :alone::text[]::boolean[]) e',
)

/** Ends those of these uploads that nobody has in his hands. @returns their ids */
export async function abortUploads(tx: Transaction, ids: string[]): Promise<Set<string>> {
  const rows = await tx.run(ABORT, { ids })
  return new Set(rows.map(({ id }) => id))
}

const ABORT = new Statement<{ ids: string[] }, { id: string }>(
  'select a::text as id from storage.abort_uploads(:ids::uuid[]) a',
)

interface SizeAndType {
  size: string | null
  type: string | null
  tags: string[] | null
}

function sizeAndType({ size, type, tags }: SizeAndType) {
  return { size: bytesOrNull(size), contentType: type, tags: tags ?? [] }
}
