import type { Caller } from '../../../model/caller.ts'
import { hasCode } from '../../../model/errors.ts'
import type { StoredObject } from '../../../storage/object/stored-object.ts'
import { lockHeaders } from '../lock-words.ts'
import type { S3Request } from '../request.ts'

/** What a reader is told of the lock of what he reads, as far as the policies let him see it, and not only a public bucket. */
export async function lockHeadersOf(
  { services }: S3Request,
  caller: Caller,
  { bucket, name, version, versionId }: StoredObject,
): Promise<Record<string, string>> {
  // Where no versions are kept, nothing is locked.
  if (versionId === null || version === null) return {}
  try {
    return lockHeaders(await services.locks.find(caller, { bucket, name, version: { id: version } }))
  } catch (error) {
    if (hasCode(error, 'NoSuchVersion')) return {}
    throw error
  }
}
