import { createHash } from 'node:crypto'
import { asUuid } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import type { Checksum } from '../../model/checksums.ts'
import type { Location } from '../../model/location.ts'
import type { SystemMetadata } from '../../model/metadata.ts'
import { versionId } from '../../model/version-id.ts'
import { asService, callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import type { Transaction } from '../connection/drizzle.ts'
import { bytesOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import { type BucketSettings, bucketSettings, type SettingsColumns } from './buckets.ts'
import type { ResumableContent, UnfinishedBounds } from './resumable-uploads.ts'
import { type IntendedWrite, writeValues } from './trial-writes.ts'

/** What is remembered for the object from the beginning of its upload, beside what its parts will say. */
export interface MultipartContent extends ResumableContent {
  contentEncoding?: string
  /** How its version will be locked. */
  lock?: { retainUntil?: string | undefined; legalHold?: boolean | undefined }
  /** What else its row's metadata will say. */
  s3?: SystemMetadata
  /** How the parts are checked. */
  checksum?: Pick<Checksum, 'algorithm' | 'type'>
}

export interface NewMultipartUpload {
  /** As clients know it. */
  id: string
  write: IntendedWrite
  at: Location
  content: MultipartContent
  /** Whose unfinished uploads it is counted with; null counts for nobody. */
  share: string | null
}

/** An upload in parts, as its rows tell it. */
export interface MultipartUpload {
  /** As clients know it. Null when it has ended. */
  id: string | null
  bucketId: string
  name: string
  at: Location
  ownerId: string | null
  ownerRole: string
  content: MultipartContent
  createdAt: Date
  state: 'open' | 'finished' | 'expired'
  /** Null when the bucket was deleted meanwhile. */
  bucket: BucketSettings | null
  /** Of all its parts but the one that was asked about, in bytes. */
  others: number
  /** Whose unfinished uploads it is counted with; null counts for nobody. */
  share: string | null
  /** Of all unfinished uploads of its share, but that part, in bytes; null when nobody counts them. */
  shareOthers: number | null
  /** Of the object that it has become. */
  objectMetadata: SystemMetadata | null
  /** When the number of the part that was asked about is that part's alone: what the backend has noted for all parts. */
  claim: { notes: string | null } | null
}

/**
 * Asks the caller's policies whether they allow such an object, and puts the upload on the lists.
 *
 * @throws AccessDenied, BucketReference, TooManyUnfinished
 */
export async function beginMultipartUpload(
  database: Database,
  caller: Caller,
  { id, write, at, content, share }: NewMultipartUpload,
  { lifetimeMs, idleMs, uploads, bytes }: UnfinishedBounds,
): Promise<void> {
  await database.run(BEGIN, {
    ...writeValues(write),
    id,
    version: at.version,
    bytesBucket: at.bucket,
    content: JSON.stringify(content),
    lifetimeMs,
    // As of resumable uploads, with which it is counted.
    whose: share === null ? null : createHash('sha256').update(share).digest('base64url'),
    uploads,
    bytes,
    idleMs,
    context: callerContext(caller),
  })
}

const BEGIN = new Statement<Record<string, unknown>, object>(`
  select storage.begin_multipart_upload(:id, :version, :bytesBucket, :bucketId, :name, :owner, :ownerId, :metadata,
    :userMetadata, :tags, :content, :lifetimeMs, :whose, :uploads, :bytes, :idleMs, :context)`)

/** Null for a version that is none of an upload in parts, or whose upload ended long ago. */
export async function findMultipartUpload(
  database: Database,
  version: string,
): Promise<MultipartUpload | null> {
  const [row] = await database.run(FIND, { version })
  return row ? asMultipartUpload(version, row) : null
}

const FIND = new Statement<{ version: string }, FoundRow>(
  'select * from storage.find_multipart_upload(:version, null)',
)

/** What S3 calls the version that a finished upload has made; null where its bucket keeps none. */
export async function findMadeVersion(
  database: Database,
  { bucketId, name, at }: Pick<MultipartUpload, 'bucketId' | 'name' | 'at'>,
): Promise<string | null> {
  const { version } = at
  const [row] = await asService(database, (tx) => tx.run(MADE, { bucketId, name, version }))
  return row?.written ? versionId(version, row.written.is_versioned) : null
}

const MADE = new Statement<
  { bucketId: string; name: string; version: string },
  { written: { is_versioned: boolean } | null }
>('select storage.written_version(:bucketId, :name, :version) as written')

/** A part that is to come. */
export interface ComingPart {
  number: number
  /** Whether its number is to be claimed. */
  claims: boolean
}

/**
 * The same for a caller who goes on with it. The policies are asked once more, unless it is somebody else's or has ended:
 * the caller of this function looks.
 *
 * @throws AccessDenied
 */
export async function askMultipartUpload(
  database: Database,
  caller: Caller,
  { version, bucket, name }: { version: string; bucket: string; name: string },
  part: ComingPart | null,
): Promise<MultipartUpload | null> {
  const owner = asUuid(caller.subject)
  const [row] = await database.run(ASK, {
    version,
    bucket,
    name,
    owner,
    part: part?.number ?? null,
    claiming: part?.claims ?? false,
    context: callerContext(caller),
  })
  return row ? asMultipartUpload(version, row) : null
}

const ASK = new Statement<
  {
    version: string
    bucket: string
    name: string
    owner: string | null
    part: number | null
    claiming: boolean
    context: string
  },
  FoundRow
>('select * from storage.ask_multipart_upload(:version, :bucket, :name, :owner, :part, :claiming, :context)')

/** Notes something for all parts, unless that was done before. Returns what is noted; null when the upload has ended. */
export async function noteUpload(database: Database, version: string, notes: string): Promise<string | null> {
  const [row] = await database.run(NOTE, { version, notes })
  return row?.notes ?? null
}

const NOTE = new Statement<{ version: string; notes: string }, { notes: string }>(
  'select notes from storage.note_upload(:version, :notes) as notes',
)

export interface UploadListQuery {
  bucketId: string
  prefix: string
  /** Empty for none. */
  delimiter: string
  /** Only what comes after this name; and of the same name what comes after this upload, unless that is null. */
  after: { name: string; id: string | null }
  limit: number
}

/** One in a list of uploads; a folder that holds some has no id. */
export type ListedUpload = { name: string; id: string; createdAt: Date } | { name: string; id: null }

/** Uploads of a bucket that the transaction's role may see, by name, and then by age. */
export async function listMultipartUploads(
  tx: Transaction,
  { bucketId, prefix, delimiter, after, limit }: UploadListQuery,
): Promise<ListedUpload[]> {
  const values = { bucketId, prefix, delimiter, limit, afterName: after.name, afterId: after.id }
  const rows = await tx.run(LIST_UPLOADS, values)
  return rows.map(({ name, id, created_at }) =>
    id === null ? { name, id } : { name, id, createdAt: new Date(created_at ?? Number.NaN) },
  )
}

const LIST_UPLOADS = new Statement<
  Omit<UploadListQuery, 'after'> & { afterName: string; afterId: string | null },
  { name: string; id: string | null; created_at: string | null }
>(`
  select * from storage.list_multipart_uploads(:bucketId, :prefix, :delimiter, :afterName, :afterId, :limit)`)

interface FoundRow extends SettingsColumns {
  upload_id: string | null
  bucket_id: string
  name: string
  bucket_uid: string
  owner_id: string | null
  owner_role: string
  content: MultipartContent
  created_at: string
  state: MultipartUpload['state']
  has_bucket: boolean
  others: string | null
  share: string | null
  share_others: string | null
  object_metadata: SystemMetadata | null
  /** Where it was asked for. */
  claimed?: boolean | null
  notes?: string | null
}

function asMultipartUpload(version: string, row: FoundRow): MultipartUpload {
  return {
    id: row.upload_id,
    bucketId: row.bucket_id,
    name: row.name,
    at: { bucket: row.bucket_uid, version },
    ownerId: row.owner_id,
    ownerRole: row.owner_role,
    content: row.content,
    createdAt: new Date(row.created_at),
    state: row.state,
    bucket: row.has_bucket ? bucketSettings(row.bucket_uid, row) : null,
    others: Number(row.others ?? 0),
    share: row.share,
    shareOthers: bytesOrNull(row.share_others),
    objectMetadata: row.object_metadata,
    claim: row.claimed ? { notes: row.notes ?? null } : null,
  }
}
