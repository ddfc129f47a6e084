import type { Written } from '../../backend/backend.ts'
import type { NewObject } from '../../database/queries/save-object.ts'
import type { IntendedWrite } from '../../database/queries/trial-writes.ts'
import type { Caller } from '../../model/caller.ts'
import { sha256Etag } from '../../model/checksums.ts'
import type { Location } from '../../model/location.ts'
import type { SystemMetadata, UserMetadata } from '../../model/metadata.ts'
import type { ObjectAttributes, SentAttributes } from '../../model/object-attributes.ts'
import { guessContentType } from '../object/content-type.ts'
import { S3_HEADERS, type S3Headers } from '../object/s3-metadata.ts'
import { DEFAULT_CACHE_CONTROL, type StoredObject } from '../object/stored-object.ts'
import { belongingOf } from './belonging.ts'
import type { UploadBody, UploadRequest } from './upload-request.ts'

/** What is known of an upload before its bytes: the policies judge this (wire §7.7). */
export function intendedWrite(
  caller: Caller,
  request: Pick<
    UploadRequest,
    'bucket' | 'name' | 'upsert' | 'contentType' | 'userMetadata' | keyof SentAttributes
  > & {
    body: Pick<UploadBody, 'requestLength'>
  },
): IntendedWrite {
  const { requestLength } = request.body
  return {
    bucketId: request.bucket,
    name: request.name,
    ...belongingOf(caller, request),
    metadata: {
      mimetype: contentTypeOf(request),
      ...(requestLength !== null && { contentLength: requestLength }),
    },
    userMetadata: request.userMetadata ?? null,
    tags: request.tags ?? [],
    autoDeleteAfterDays: request.autoDeleteAfterDays,
    upsert: request.upsert,
  }
}

/** The row of an upload whose bytes are stored at `at`, or will be (wire §8). */
export function uploadedObject(
  caller: Caller,
  request: Omit<UploadRequest, 'body'>,
  at: Location,
  written: Written,
  now: Date,
): NewObject {
  const { robotsTag, contentEncoding, s3 } = request
  const metadata: SystemMetadata = {
    eTag: s3?.eTag ?? sha256Etag(written.sha256),
    size: written.size,
    mimetype: contentTypeOf(request),
    cacheControl: request.cacheControl ?? DEFAULT_CACHE_CONTROL,
    lastModified: now.toISOString(),
    contentLength: written.size,
    httpStatusCode: 200,
    ...(robotsTag !== undefined && { xRobotsTag: robotsTag }),
    ...(contentEncoding !== undefined && { contentEncoding }),
    ...s3,
  }
  return {
    bucketId: request.bucket,
    name: request.name,
    version: at.version,
    bytesBucket: at.bucket,
    ...belongingOf(caller, request),
    metadata,
    userMetadata: request.userMetadata ?? {},
    checksum: written.sha256,
    tags: request.tags ?? [],
    autoDeleteAfterDays: request.autoDeleteAfterDays,
  }
}

/** What a copy says otherwise than its source (wire §3.10); undefined keeps the source's. */
export interface ReplacedMetadata {
  contentType: string | undefined
  cacheControl: string | undefined
  /** `''` clears it. */
  contentEncoding: string | undefined
  /** Always replaced. */
  userMetadata: UserMetadata | null
  /** Replaced as a whole. */
  s3?: S3Headers | undefined
}

/** The row of a copy. Without `replace` it says what its source says, user metadata included; the same for `tags`. */
export function copiedObject(
  caller: Caller,
  source: StoredObject,
  to: { bucket: string; name: string },
  at: Location,
  replace: ReplacedMetadata | undefined,
  tags: string[] | undefined,
  now: Date,
): NewObject {
  const metadata: SystemMetadata = { ...source.systemMetadata, lastModified: now.toISOString() }
  if (replace?.contentType !== undefined) metadata.mimetype = replace.contentType
  if (replace?.cacheControl !== undefined) metadata.cacheControl = replace.cacheControl
  if (replace?.contentEncoding === '') delete metadata.contentEncoding
  else if (replace?.contentEncoding !== undefined) metadata.contentEncoding = replace.contentEncoding
  if (replace?.s3) {
    for (const header of S3_HEADERS) delete metadata[header]
    Object.assign(metadata, replace.s3)
  }
  return {
    bucketId: to.bucket,
    name: to.name,
    version: at.version,
    bytesBucket: at.bucket,
    ownerId: caller.subject,
    attributes: copiedAttributes(caller, source),
    metadata,
    userMetadata: replace ? replace.userMetadata : source.userMetadata,
    checksum: source.checksum,
    tags: tags ?? source.tags,
  }
}

/** A copy is its maker's, so that it is of his organisation; and nobody else knows of it. */
function copiedAttributes(caller: Caller, { attributes }: StoredObject): ObjectAttributes {
  const { organizationId, accessLevel, ...kept } = attributes
  return { ...kept, ...belongingOf(caller, {}).attributes }
}

function contentTypeOf(request: Pick<UploadRequest, 'name' | 'contentType'>): string {
  return request.contentType ?? guessContentType(request.name)
}
