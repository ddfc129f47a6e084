import { createHash } from 'node:crypto'
import type { Written } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { findPathTemplate } from '../../database/queries/buckets.ts'
import type { ReadTarget } from '../../database/queries/objects.ts'
import type { Caller } from '../../model/caller.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { requestHash } from '../idempotent-requests.ts'
import { isForOneRequest, type Making, makeName } from '../object/made-name.ts'
import type { NameRules } from '../object/object-name.ts'
import type { StoredObject } from '../object/stored-object.ts'
import type { Stored } from '../writing/commit.ts'
import type { LateFields, UploadBody, UploadContent, UploadRequest } from '../writing/upload-request.ts'

/** An upload whose name is to be made. */
export interface NamedContent extends UploadContent {
  bucket: string
  /** As its owner calls it. */
  fileName: string
}

export interface NamedUpload extends NamedContent {
  making: Making
  /** Whether the same request may have stored it already. */
  isAgain: boolean
}

/**
 * Stores an upload under the name that is made for it. What the same request has stored before is found by that.
 *
 * @param files by which objects are found and stored
 * @throws NoSuchBucket, IdempotencyKeyReused when that is something else, and as `files.upload`
 */
export async function storeNamed(
  { database, nameRules, maxFileSize }: { database: Database; nameRules: NameRules; maxFileSize: number },
  files: {
    find(caller: Caller, target: ReadTarget): Promise<{ object: StoredObject }>
    upload(caller: Caller, request: UploadRequest): Promise<Stored>
  },
  caller: Caller,
  { making, isAgain, ...content }: NamedUpload,
): Promise<{ stored: Stored; request: string }> {
  const { bucket, fileName, ownerId } = content
  try {
    const template = await findPathTemplate(database, bucket)
    if (template === undefined) throw new StorageError('NoSuchBucket')
    const name = makeName(template, nameRules, making, { userId: ownerId ?? caller.subject, fileName })
    // Whatever the policies show of it: it is what the caller has stored, if nobody else can have.
    const target = { access: 'signed', bucket, name } as const
    const before = isAgain ? await files.find(caller, target).catch(absent) : null
    if (before && (isForOneRequest(template) || isOwn(caller, before.object))) {
      const { request, sha256 } = await readForHash(content, maxFileSize)
      if (before.object.checksum !== sha256) throw new StorageError('IdempotencyKeyReused')
      return { stored: { object: before.object, created: false }, request }
    }
    const { watched, hash } = watchedUpload(content)
    const stored = await files.upload(caller, { ...watched, name, upsert: false })
    return { stored, request: hash() }
  } catch (error) {
    content.body.discard()
    throw error
  }
}

/** Whether it is his by what its row says. */
function isOwn({ role, subject }: Caller, { ownerId }: StoredObject): boolean {
  return role === 'service_role' || (subject !== null && ownerId === subject)
}

function absent(error: unknown): null {
  if (hasCode(error, 'NoSuchKey')) return null
  throw error
}

/**
 * A hash of all that an upload says, its bytes and what stands behind them included, once they have been read.
 *
 * @returns with the content whose body is to be read in the place of the one that was sent
 */
function watchedUpload<T extends NamedContent>(content: T): { watched: T; hash: () => string } {
  const { body } = content
  let read: { written: Written; late: LateFields } | undefined
  const late = async (written: Written) => {
    const said = await body.late(written)
    read = { written, late: said }
    return said
  }
  const watchedBody: UploadBody = { ...body, late }
  return {
    watched: { ...content, body: watchedBody },
    hash: () => hashOf(content, read),
  }
}

/**
 * The same of an upload that is not to be stored: reads its bytes for nothing else.
 *
 * @param maxBytes so many at most
 * @throws EntityTooLarge, and as its body
 */
export async function readForHash(
  content: NamedContent,
  maxBytes: number,
): Promise<{ request: string; sha256: string }> {
  const { body } = content
  const sha256 = createHash('sha256')
  let size = 0
  try {
    body.admit()
    // What is left of it is for `discard`, and not for the end of this loop, which would break the connection.
    for await (const bytes of body.stream.iterator({ destroyOnReturn: false })) {
      size += bytes.length
      if (size > maxBytes) throw new StorageError('EntityTooLarge')
      sha256.update(bytes)
    }
    const written = { size, sha256: sha256.digest('hex') }
    const late = await body.late(written)
    return { request: hashOf(content, { written, late }), sha256: written.sha256 }
  } catch (error) {
    body.discard()
    throw error
  }
}

function hashOf(
  { body, bucket, fileName, ...said }: NamedContent,
  read: { written: Written; late: LateFields } | undefined,
): string {
  const whole = { ...said, fileName, ...read?.late }
  const fields = Object.entries(whole).sort(([one], [other]) => (one < other ? -1 : 1))
  return requestHash(bucket, read?.written.sha256 ?? '', fields)
}
