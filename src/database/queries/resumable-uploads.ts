import { createHash } from 'node:crypto'
import { sql } from 'drizzle-orm'
import type { Progress } from '../../backend/resumable-backend.ts'
import { asUuid } from '../../lib/uuid.ts'
import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import { asService, callerContext } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { bytesOrNull } from '../connection/row-values.ts'
import { Statement } from '../connection/statement.ts'
import type { AttributesJson } from './attributes.ts'
import { type BucketSettings, bucketSettings, type SettingsColumns } from './buckets.ts'
import { type IntendedWrite, writeValues } from './trial-writes.ts'

/** What is remembered for the object: what its row will say, beside its bytes. */
export interface ResumableContent {
  /** As sent, or as the name says. */
  contentType: string
  /** A whole directive, such as `max-age=3600`. */
  cacheControl: string
  userMetadata?: UserMetadata
  /** That the client says of all the bytes, in hex. */
  sha256?: string
  /** What must hold of an object that is there already, when the row is made. */
  condition?: WriteCondition
  /** After how many days the object goes by itself. */
  autoDeleteAfterDays?: number
  tags?: string[]
  /** Whose the object is to be, if not the uploader's. */
  ownerId?: string
  /** As functions of the database take them. */
  attributes?: AttributesJson
  /** Whether an object of that name may be replaced. Uploads that older servers began do not say. */
  upsert?: boolean
}

export interface NewResumableUpload {
  write: IntendedWrite
  at: Location
  isSigned: boolean
  /** In bytes; null while the client has not said. */
  length: number | null
  /** As the client sent it. */
  uploadMetadata: string
  content: ResumableContent
  /** Whose unfinished uploads it is counted with; null counts for nobody. */
  share: string | null
  /** The largest length it may have, in bytes. */
  largest: number
}

/** How long uploads stay, and how many one share may have. */
export interface UnfinishedBounds {
  /** How long one stays after its last chunk, in milliseconds. */
  lifetimeMs: number
  /** How long, when its share is used up. */
  idleMs: number
  uploads: number
  /** What they say that they will be together. */
  bytes: number
}

/** An upload as its row tells it. */
export interface ResumableUpload {
  bucketId: string
  name: string
  at: Location
  ownerId: string | null
  ownerRole: string
  isSigned: boolean
  length: number | null
  progress: Progress
  uploadMetadata: string
  content: ResumableContent
  expiresAt: Date
  state: 'open' | 'finished' | 'terminated' | 'expired'
  /** Null when the bucket was deleted meanwhile. */
  bucket: BucketSettings | null
}

/** An upload in the hands of one request. */
export interface TakenUpload {
  /** Counts the requests that have had it, from 1. */
  attempt: number
  length: number | null
  progress: Progress
}

/**
 * Asks the caller's policies whether they allow such an object, and puts the upload on the lists.
 *
 * @returns when it expires
 * @throws AccessDenied, ResourceAlreadyExists, NoSuchBucket, TooManyUnfinished
 */
export async function beginResumableUpload(
  database: Database,
  caller: Caller,
  { write, at, isSigned, length, uploadMetadata, content, share, largest }: NewResumableUpload,
  { lifetimeMs, idleMs, uploads, bytes }: UnfinishedBounds,
): Promise<Date> {
  // An index takes no text of any length, and nobody has to read addresses here.
  const whose = share === null ? null : createHash('sha256').update(share).digest('base64url')
  const [row] = await database.run(BEGIN, {
    ...writeValues(write),
    version: at.version,
    bytesBucket: at.bucket,
    isSigned,
    length,
    uploadMetadata,
    content: JSON.stringify(content),
    lifetimeMs,
    whose,
    largest,
    uploads,
    bytes,
    idleMs,
    context: callerContext(caller),
  })
  return new Date(row?.expires_at ?? Number.NaN)
}

const BEGIN = new Statement<Record<string, unknown>, { expires_at: string }>(`
  select storage.begin_resumable_upload(:version, :bytesBucket, :bucketId, :name, :owner, :ownerId, :metadata,
    :userMetadata, :upsert, :isSigned, :length, :uploadMetadata, :content, :lifetimeMs, :whose, :largest, :uploads,
    :bytes, :idleMs, :context) as expires_at`)

/** Null for an id that was never one, or whose upload ended long ago. */
export async function findResumableUpload(database: Database, id: string): Promise<ResumableUpload | null> {
  const [row] = await database.run(FIND, { id })
  return row ? asResumableUpload(id, row) : null
}

const FIND = new Statement<{ id: string }, FoundRow>('select * from storage.find_resumable_upload(:id)')

/** Which upload a request is about, as its URL says. */
export interface UploadAddress {
  bucket: string
  name: string
  version: string
}

/**
 * The same for a caller who goes on with the upload. The policies are asked once more, unless it is somebody else's or
 * has ended: the caller of this function looks.
 *
 * @throws AccessDenied, ResourceAlreadyExists
 */
export async function askResumableUpload(
  database: Database,
  caller: Caller,
  address: UploadAddress,
  { isSigned, upsert }: { isSigned: boolean; upsert: boolean },
): Promise<ResumableUpload | null> {
  const owner = asUuid(caller.subject)
  const [row] = await database.run(ASK, {
    ...address,
    isSigned,
    upsert,
    owner,
    context: callerContext(caller),
  })
  return row ? asResumableUpload(address.version, row) : null
}

const ASK = new Statement<
  UploadAddress & { isSigned: boolean; upsert: boolean; owner: string | null; context: string },
  FoundRow
>(`
  select * from storage.ask_resumable_upload(:version, :bucket, :name, :isSigned, :owner, :upsert, :context)`)

function asResumableUpload(id: string, row: FoundRow): ResumableUpload {
  return {
    bucketId: row.bucket_id,
    name: row.name,
    at: { bucket: row.bucket_uid, version: id },
    ownerId: row.owner_id,
    ownerRole: row.owner_role,
    isSigned: row.is_signed,
    length: bytesOrNull(row.upload_length),
    progress: { offset: Number(row.upload_offset), notes: row.notes },
    uploadMetadata: row.upload_metadata ?? '',
    content: row.content,
    expiresAt: new Date(row.expires_at),
    state: row.state,
    bucket: row.has_bucket ? bucketSettings(row.bucket_uid, row) : null,
  }
}

/** Notes how far an upload is. @returns when it expires now; null when another request has it, or it was given up */
export async function advanceResumableUpload(
  database: Database,
  id: string,
  { attempt, length, progress: { offset, notes } }: TakenUpload,
  lifetimeMs: number,
): Promise<Date | null> {
  const [row] = await database.run(ADVANCE, { id, attempt, length, offset, notes, lifetimeMs })
  return row?.expires_at == null ? null : new Date(row.expires_at)
}

const ADVANCE = new Statement<
  Omit<TakenUpload, 'progress'> & TakenUpload['progress'] & { id: string; lifetimeMs: number },
  { expires_at: string | null }
>(`
  select storage.advance_resumable_upload(:id, :attempt, :length, :offset, :notes, :lifetimeMs) as expires_at`)

/** Ends an upload for good; its bytes go on the list of removals. @returns false when another request has it */
export async function terminateResumableUpload(
  database: Database,
  id: string,
  attempt: number,
): Promise<boolean> {
  const [row] = await database.run(TERMINATE, { id, attempt })
  return row?.done ?? false
}

const TERMINATE = new Statement<{ id: string; attempt: number }, { done: boolean }>(
  'select storage.terminate_resumable_upload(:id, :attempt) as done',
)

/** Asks the request that has an upload to let it go, on whichever server it is. */
export async function wantResumableUpload(database: Database, id: string): Promise<void> {
  await database.run(WANT, { id })
}

const WANT = new Statement<{ id: string }, object>('select storage.want_resumable_upload(:id)')

/** Which of these uploads another request waits for. */
export async function wantedResumableUploads(database: Database, ids: string[]): Promise<string[]> {
  const rows = await database.run(WANTED, { ids })
  return rows.map((row) => row.id)
}

const WANTED = new Statement<{ ids: string[] }, { id: string }>(
  'select storage.wanted_resumable_uploads(:ids::uuid[]) as id',
)

/** Forgets uploads that ended or expired `ageMs` ago, at most `limit` of them. Returns how many. */
export async function trimResumableUploads(
  database: Database,
  ageMs: number,
  limit: number,
): Promise<number> {
  const rows = await asService(database, (tx) =>
    tx.execute(sql`delete from storage.resumable_uploads where id in (
      select r.id from storage.resumable_uploads r
      where r.expires_at < now() - ${ageMs} * interval '1 millisecond'
        and not exists (select from storage.uploads u where u.version = r.id)
      order by r.expires_at limit ${limit})`),
  )
  return rows.count
}

interface FoundRow extends SettingsColumns {
  bucket_id: string
  name: string
  bucket_uid: string
  owner_id: string | null
  owner_role: string
  is_signed: boolean
  upload_length: string | null
  upload_offset: string
  upload_metadata: string | null
  content: ResumableContent
  notes: string | null
  expires_at: string
  state: ResumableUpload['state']
  has_bucket: boolean
}
