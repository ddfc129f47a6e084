import type { Readable } from 'node:stream'
import type { ChunkReader, Written } from '../../backend/backend.ts'
import type { UserMetadata } from '../../model/metadata.ts'
import type { SentAttributes } from '../../model/object-attributes.ts'
import type { NewLock } from '../../model/object-lock.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import type { S3Metadata } from '../object/s3-metadata.ts'

/** What a client sends to store an object, in our own words. */
export interface UploadRequest extends SentAttributes {
  bucket: string
  /** The bucket that is meant, when another may have its name by now; undefined means whichever has the name. */
  bucketUid?: string | undefined
  /** As the client named it; not yet checked. */
  name: string
  /** Whether an object of that name may be replaced. */
  upsert: boolean
  /** What must hold of the object that is there already. */
  condition?: WriteCondition | undefined
  /** As sent and well-formed, or undefined when the client named none. */
  contentType: string | undefined
  /** Whether the name says nothing of the type, though it may have an extension. */
  isNameSilent?: boolean
  /** A whole directive, such as `max-age=3600`. */
  cacheControl: string | undefined
  /** How the bytes are encoded; they are stored as they come (wire §13.1). */
  contentEncoding: string | undefined
  robotsTag: string | undefined
  userMetadata: UserMetadata | undefined
  /** What a row says only of what came by S3. */
  s3?: S3Metadata | undefined
  /** How its version is locked, from the moment when anybody sees it. */
  lock?: NewLock | undefined
  body: UploadBody
}

/** What a request's body and headers say about its object; bucket, name and upsert stand elsewhere in it. */
export type UploadContent = Omit<UploadRequest, 'bucket' | 'bucketUid' | 'name' | 'upsert'>

export interface UploadBody extends ChunkReader {
  /** The object's bytes. */
  stream: Readable
  /** Whether all of the request is here, so that reading it waits for nobody. */
  hasArrived(): boolean
  /**
   * Says that the first bytes are waited for though nobody has asked yet whether they are welcome: the client has to bring
   * them in one go. Returns what says that they are here.
   */
  expectBeginning(): () => void
  /** Takes the upload's place, once the policies have allowed it. Twice is as once. @throws TooManyUploads */
  admit(): void
  /** Gives up on bytes that will not be read, so that the request can be answered. */
  discard(): void
  /** Length of the object in bytes when the request declares exactly that, else null. */
  declaredSize: number | null
  /** Length of the request in bytes, form overhead included, or null when chunked. Policies see it. */
  requestLength: number | null
  /**
   * What is known only behind the bytes: what a form said after its file, digests. Resolves once the request has been
   * read to its end, and so only after `stream` has been consumed.
   *
   * @param written the bytes that `stream` has given
   * @throws when they are not those that the client says: nothing is stored then
   */
  late(written: Written): Promise<LateFields>
}

export type LateFields = Partial<
  Pick<
    UploadRequest,
    'contentType' | 'cacheControl' | 'contentEncoding' | 'userMetadata' | 's3' | keyof SentAttributes
  >
>
