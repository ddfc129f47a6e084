import { asc, desc, eq, sql } from 'drizzle-orm'
import { asUuid } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { bytesOrNull, textArray } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { buckets, objects, type VersioningStatus } from '../schema.ts'

export type BucketRow = typeof buckets.$inferSelect

/** What object operations need to know of a bucket. */
export interface BucketSettings {
  /** The bucket's part of every location of bytes. */
  uid: string
  /** In bytes; null means the global limit. */
  fileSizeLimit: number | null
  /** Null allows everything. */
  allowedMimeTypes: string[] | null
}

/** Settings that may be remembered. */
export interface KnownSettings extends BucketSettings {
  /** By which the database knows whether they are still those of now (`storage.settings_mark`). */
  mark: string
}

/**
 * A bucket's settings, past RLS: object operations need no policy on buckets (wire §7.7). Asked anew each
 * time, so a change on any server holds at once.
 */
export async function findBucketSettings(database: Database, id: string): Promise<KnownSettings | null> {
  const [row] = await database.read(SETTINGS, { id })
  return row ? knownSettings(row.uid, row) : null
}

/** As they stand in a row, of the bucket or of what belongs to it. */
export function bucketSettings(uid: string, row: SettingsColumns): BucketSettings {
  return {
    uid,
    fileSizeLimit: bytesOrNull(row.file_size_limit),
    // Plain SQL may have given it other bounds or dimensions, which make arrays in an array.
    allowedMimeTypes: row.allowed_mime_types?.flat(Number.POSITIVE_INFINITY) ?? null,
  }
}

export function knownSettings(uid: string, row: MarkedColumns): KnownSettings {
  return { ...bucketSettings(uid, row), mark: row.mark }
}

/** Whether a bucket keeps versions, past RLS as well; null: there is no such bucket. */
export async function findVersioning(database: Database, id: string): Promise<VersioningStatus | null> {
  const [row] = await database.read(VERSIONING, { id })
  return row?.status ?? null
}

const VERSIONING = new Statement<{ id: string }, { status: VersioningStatus | null }>(
  'select storage.versioning_of(:id) as status',
)

/** Whether there is any bucket, whoever may see it. */
export async function hasBuckets(database: Database): Promise<boolean> {
  const [row] = await asService(database, (tx) =>
    tx.execute<{ there: boolean }>(sql`select exists (select from storage.buckets) as there`),
  )
  return row?.there ?? false
}

/**
 * Which of these buckets are there and public, and, of the unversioned ones, still without versions.
 *
 * @throws DatabaseUnavailable
 */
export async function stillPublic(
  database: Database,
  ids: string[],
  unversioned: string[],
): Promise<Set<string>> {
  const rows = await database.run(STILL_PUBLIC, { ids, unversioned })
  return new Set(rows.map(({ id }) => id))
}

const STILL_PUBLIC = new Statement<{ ids: string[]; unversioned: string[] }, { id: string }>(
  'select storage.still_public(:ids::text[], :unversioned::text[]) as id',
)

const SETTINGS = new Statement<{ id: string }, MarkedColumns & { uid: string }>(
  'select * from storage.bucket_settings(:id)',
)

export interface SettingsColumns {
  file_size_limit: string | null
  allowed_mime_types: string[] | null
}

export interface MarkedColumns extends SettingsColumns {
  mark: string
}

export interface NewBucket {
  id: string
  name: string
  ownerId: string | null
  policy: BucketRow['policy']
  fileSizeLimit: number | null
  allowedMimeTypes: string[] | null
  type: BucketRow['type']
  versioningStatus: BucketRow['versioningStatus']
  objectLock: boolean
  retentionDays: number | null
  trashDays: number
  maxVersions: number | null
  versionRetentionDays: number | null
  pathTemplate: string | null
}

/**
 * Makes a bucket. Asks for nothing back, since that would need a SELECT policy.
 *
 * @throws ResourceAlreadyExists, SkippedByTrigger
 */
export async function insertBucket(tx: Transaction, bucket: NewBucket): Promise<void> {
  const inserted = await tx.insert(buckets).values({ ...bucket, owner: asUuid(bucket.ownerId) })
  if (inserted.count !== 1) throw new StorageError('SkippedByTrigger')
}

/** The bucket, if the transaction's role may see it. */
export async function findBucket(tx: Transaction, id: string): Promise<BucketRow | null> {
  const [row] = await tx.select().from(buckets).where(eq(buckets.id, id))
  return row ?? null
}

/** Whether the bucket of this name is this one, as far as the transaction's role sees. */
export async function isBucket(tx: Transaction, id: string, uid: string): Promise<boolean> {
  return (await tx.run(IS_BUCKET, { id, uid })).length > 0
}

const IS_BUCKET = new Statement<{ id: string; uid: string }, Record<string, never>>(
  'select from storage.buckets where id = :id and uid = :uid',
)

/** By what names of a bucket's objects are made; null: nothing of its own. Undefined when there is no such bucket. */
export async function findPathTemplate(
  database: Pick<Database, 'transaction'>,
  id: string,
): Promise<string | null | undefined> {
  return asService(database, async (tx) => {
    const [row] = await tx.run(FIND_TEMPLATE, { id })
    return row?.path_template
  })
}

const FIND_TEMPLATE = new Statement<{ id: string }, { path_template: string | null }>(
  'select path_template from storage.buckets where id = :id',
)

/** The same, which stays as it is to the transaction's end. Needs SELECT and UPDATE policies. */
export async function lockBucket(tx: Transaction, id: string): Promise<BucketRow | null> {
  const [row] = await tx.select().from(buckets).where(eq(buckets.id, id)).for('update')
  return row ?? null
}

/**
 * Holds a bucket that the transaction's role may see and change, so that who else wants to change it, or what belongs to it,
 * waits; uploads do not. Null when it may not.
 */
export async function holdBucket(tx: Transaction, id: string): Promise<BucketRow | null> {
  const [row] = await tx.select().from(buckets).where(eq(buckets.id, id)).for('no key update')
  return row ?? null
}

export interface BucketListQuery {
  limit: number | undefined
  offset: number
  column: 'id' | 'name' | 'created_at' | 'updated_at' | undefined
  order: 'asc' | 'desc'
  /** Any part of the name, case ignored. */
  search: string | undefined
}

const SORT_COLUMNS = {
  id: buckets.id,
  name: buckets.name,
  created_at: buckets.createdAt,
  updated_at: buckets.updatedAt,
}

/** The buckets that the transaction's role may see (wire §2.4). */
export async function listBuckets(tx: Transaction, query: BucketListQuery): Promise<BucketRow[]> {
  const direction = query.order === 'desc' ? desc : asc
  let found = tx
    .select()
    .from(buckets)
    .where(
      query.search === undefined
        ? undefined
        : sql`position(lower(${query.search}) in lower(${buckets.name})) > 0`,
    )
    .offset(query.offset)
    .$dynamic()
  if (query.column !== undefined)
    found = found.orderBy(direction(SORT_COLUMNS[query.column]), asc(buckets.id))
  if (query.limit !== undefined) found = found.limit(query.limit)
  return await found
}

export interface BucketPage {
  /** Of the names that are meant. */
  prefix: string
  /** Empty for the first page. */
  after: string
  limit: number
}

/** Those that the transaction's role may see, in order of their names' bytes (wire §6.3). */
export async function pageOfBuckets(
  tx: Transaction,
  { prefix, after, limit }: BucketPage,
): Promise<BucketRow[]> {
  const name = sql`${buckets.id} collate "C"`
  return await tx
    .select()
    .from(buckets)
    .where(sql`starts_with(${buckets.id}, ${prefix}) and ${name} > ${after}`)
    .orderBy(name)
    .limit(limit)
}

export interface BucketChanges {
  policy?: BucketRow['policy']
  fileSizeLimit?: number | null
  allowedMimeTypes?: string[] | null
  public?: boolean
  versioningStatus?: BucketRow['versioningStatus']
  objectLock?: boolean
  retentionDays?: number | null
  trashDays?: number
  maxVersions?: number
  versionRetentionDays?: number
  pathTemplate?: string | null
}

/** How many versions a name has, and for how many days, where its bucket does not say. */
export interface VersionDefaults {
  maxVersions: number
  versionRetentionDays: number
}

/**
 * Changes what is given. Returns whether the policies let it.
 *
 * @param defaults what stands in the row, if nothing does, once versions are on
 */
export async function updateBucket(
  tx: Transaction,
  id: string,
  changes: BucketChanges,
  defaults: VersionDefaults,
): Promise<boolean> {
  const unsaid = changes.versioningStatus === 'ENABLED' && {
    maxVersions: sql`coalesce(${buckets.maxVersions}, ${defaults.maxVersions})`,
    versionRetentionDays: sql`coalesce(${buckets.versionRetentionDays}, ${defaults.versionRetentionDays})`,
  }
  const changed = { ...unsaid, ...changes, updatedAt: sql`now()` }
  const rows = await tx.update(buckets).set(changed).where(eq(buckets.id, id)).returning({ id: buckets.id })
  return rows.length > 0
}

/** Deletes an empty bucket. Returns it if the policies let it. @throws BucketReference when not empty */
export async function deleteBucket(tx: Transaction, id: string): Promise<BucketRow | null> {
  const [row] = await tx.delete(buckets).where(eq(buckets.id, id)).returning()
  return row ?? null
}

/** Whether the bucket holds any object, version, marker, or what is in the trash. For the service. */
export async function bucketHoldsAnything(tx: Transaction, id: string): Promise<boolean> {
  return (await tx.run(HOLDS_ANYTHING, { id })).length > 0
}

const HOLDS_ANYTHING = new Statement<{ id: string }, object>(`
  (select from storage.objects where bucket_id = :id limit 1)
  union all (select from storage.object_versions where bucket_id = :id limit 1)`)

/** Those of these ids that no bucket has. */
export async function missingBuckets(tx: Transaction, ids: string[]): Promise<string[]> {
  if (ids.length === 0) return []
  const rows = await tx
    .select({ id: buckets.id })
    .from(buckets)
    .where(sql`${buckets.id} = any (${textArray(ids)})`)
  const there = new Set(rows.map(({ id }) => id))
  return ids.filter((id) => !there.has(id))
}

export interface BucketStats {
  fileCount: number
  /** In bytes. */
  totalSize: number
}

/** Counts the objects of each of these buckets. Reads every row of theirs. */
export async function bucketStats(tx: Transaction, ids: string[]): Promise<Map<string, BucketStats>> {
  const rows = await tx
    .select({
      id: objects.bucketId,
      count: sql<string>`count(*)`,
      // Rows that plain SQL made may hold anything here.
      size: sql<string>`coalesce(sum(case jsonb_typeof(${objects.metadata} -> 'size')
        when 'number' then (${objects.metadata} ->> 'size')::numeric end), 0)`,
    })
    .from(objects)
    .where(sql`${objects.bucketId} = any (${textArray(ids)})`)
    .groupBy(objects.bucketId)
  return new Map(
    rows.map((row) => [row.id ?? '', { fileCount: Number(row.count), totalSize: Number(row.size) }] as const),
  )
}
