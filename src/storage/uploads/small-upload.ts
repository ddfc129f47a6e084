import { randomUUID } from 'node:crypto'
import type { Written } from '../../backend/backend.ts'
import { asServiceWithin } from '../../database/as-caller.ts'
import type { Transaction } from '../../database/connection/drizzle.ts'
import type { BucketSettings } from '../../database/queries/buckets.ts'
import { writeInlineBytes } from '../../database/queries/inline-bytes.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode } from '../../model/errors.ts'
import { INLINE_BUCKET } from '../../model/location.ts'
import { newVersion } from '../../model/version.ts'
import { SAMPLE_BYTES } from '../detection/found-type.ts'
import { type InlineUploadParts, storeInline } from '../inline/inline-upload.ts'
import { abortUpload, type CommitParts, commitUpload, type Stored } from '../writing/commit.ts'
import { beginWrite, type ListedWriteParts, whileListed } from '../writing/listed-write.ts'
import { intendedWrite, uploadedObject } from '../writing/new-object.ts'
import { readSmallBody } from '../writing/small-body.ts'
import type { UploadBody, UploadRequest } from '../writing/upload-request.ts'
import { type Arrival, type ArrivalParts, checkUploadFits, completed, letIn } from './arrival.ts'
import { type FileUploadParts, storeFileFirst } from './file-upload.ts'
import type { RecentlyAllowed } from './recently-allowed.ts'

export interface SmallUploadParts
  extends CommitParts,
    ListedWriteParts,
    ArrivalParts,
    FileUploadParts,
    InlineUploadParts {
  recentlyAllowed: RecentlyAllowed
  /** Objects of up to so many bytes are kept in the database (decision 0052); 0 for none. */
  inlineSize: number
  now: () => Date
}

/** A small body is read first and takes one transaction (design §3). In bytes, of the request. */
const SMALL_BODY = 256 * 1024

/** What a form has around its file, about; with more it is not expected to hold a small one. In bytes. */
const FORM_OVERHEAD = 4096

/** Whether the bytes will probably be few enough for the database. */
export function mayBeInline(inlineSize: number, { declaredSize, requestLength }: UploadBody): boolean {
  if (inlineSize === 0 || requestLength === null) return false
  return declaredSize === null ? requestLength <= inlineSize + FORM_OVERHEAD : declaredSize <= inlineSize
}

/** Whether so many bytes are kept in the database. Null, of a row that plain SQL made, is few. */
export function fitsDatabase(inlineSize: number, size: number | null): boolean {
  return inlineSize > 0 && (size ?? 0) <= inlineSize
}

/** Whether a body is read first that a backend is to have. A store far away has it while it comes. */
export function isSmall(backend: { isLocal: boolean }, { requestLength }: UploadBody): boolean {
  return requestLength !== null && requestLength <= SMALL_BODY && backend.isLocal
}

/**
 * Steps 3 to 7 for a small body, read first: row under RLS, bytes, commit. A stranger's denial costs no file.
 *
 * @param isRemembered whether the settings of the bucket may be out of date
 */
export async function storeSmall(
  parts: SmallUploadParts,
  caller: Caller,
  arrival: Arrival & { isRemembered: boolean },
): Promise<Stored> {
  const { recentlyAllowed } = parts
  const { uid } = arrival.bucket
  try {
    const stored = await storeRead(parts, caller, arrival)
    recentlyAllowed.note(caller, uid, true)
    return stored
  } catch (error) {
    recentlyAllowed.forget(caller, uid)
    throw error
  }
}

async function storeRead(
  parts: SmallUploadParts,
  caller: Caller,
  arrival: Arrival & { isRemembered: boolean },
): Promise<Stored> {
  const { backend, database, inlineSize, now } = parts
  const { request } = arrival
  let { isRemembered } = arrival
  const { body, condition } = request
  const maxBytes = isRemembered ? body.requestLength : checkUploadFits(parts, arrival, null)
  let { bucket } = arrival
  let isAsked = false
  const askPolicies = () => beginWrite(database, caller, intendedWrite(caller, request), null, condition)
  const ask = async () => {
    // What is remembered of the bucket refuses nothing: that there is none, say, is told before its policies are asked.
    bucket = await letIn(parts, undefined, request, body.declaredSize)
    isRemembered = false
    await askPolicies()
    isAsked = true
  }
  const { bytes, written, late } = await readSmallBody(body, maxBytes ?? 0, ask)
  const complete = await completed(parts, request, late, async () => bytes.subarray(0, SAMPLE_BYTES))
  if (!isPlain(complete) && isRemembered) bucket = await letIn(parts, undefined, complete, written.size)
  if (fitsDatabase(inlineSize, written.size)) {
    try {
      bucket = await letIn(parts, bucket, complete, written.size)
      body.admit()
      return await storeInDatabase(parts, caller, { request: complete, bucket }, bytes, written)
    } catch (error) {
      // It has gone while the body came: then its policies have the first word, as in a transaction of several statements.
      if (isAsked && hasCode(error, 'NoSuchBucket')) await askPolicies()
      throw error
    }
  }
  const isFileFirst = backend.isLocal && isPlain(complete) && parts.recentlyAllowed.has(caller, bucket.uid)
  const settings = await letIn(
    parts,
    isRemembered && !isFileFirst ? undefined : bucket,
    complete,
    written.size,
  )
  body.admit()
  if (isFileFirst) {
    return storeFileFirst(parts, caller, { request: complete, bucket: settings }, bytes, written)
  }
  const at = { bucket: settings.uid, version: newVersion() }
  const write = () => backend.write(at, bytes, { maxBytes: written.size, sha256: written.sha256 })
  const object = uploadedObject(caller, complete, at, written, now())
  if (!backend.isLocal) {
    await beginWrite(database, caller, intendedWrite(caller, complete), at, condition)
    return whileListed(parts, at, async () => {
      await write()
      return commitUpload(parts, caller, object, complete)
    })
  }
  try {
    return await commitUpload(parts, caller, object, { ...complete, storeBytes: write })
  } catch (error) {
    await abortUpload(parts, at, error, { wasListed: false })
    throw error
  }
}

/** Whether one call of the database can store it: it knows no conditions, and not all that an upload may say. */
function isPlain({ condition, lock, autoDeleteAfterDays }: UploadRequest): boolean {
  return !condition && !lock && autoDeleteAfterDays === undefined
}

/** Steps 3 to 6 for bytes that go into the database: one call, if that can do it. */
function storeInDatabase(
  parts: SmallUploadParts,
  caller: Caller,
  { request, bucket }: Arrival,
  bytes: Uint8Array,
  written: Written,
): Promise<Stored> {
  const at = { bucket: INLINE_BUCKET, version: randomUUID() }
  const object = uploadedObject(caller, request, at, written, parts.now())
  const { upsert, bucketUid, condition, lock } = request
  if (!isPlain(request)) {
    const storeBytes = (tx: Transaction) =>
      asServiceWithin(tx, caller, () => writeInlineBytes(tx, at.version, bytes))
    return commitUpload(parts, caller, object, { upsert, bucketUid, condition, lock, storeBytes })
  }
  const check = (now: BucketSettings) => checkUploadFits(parts, { request, bucket: now }, written.size)
  const isLikely = parts.recentlyAllowed.has(caller, bucket.uid)
  return storeInline(parts, caller, { object, bytes, upsert, bucket, isLikely, bucketUid, check })
}
