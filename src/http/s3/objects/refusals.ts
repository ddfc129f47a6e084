import type { IncomingHttpHeaders } from 'node:http'
import { StorageError } from '../../../model/errors.ts'
import type { S3Request } from '../request.ts'

/** Headers of writes that ask for what is not done here: a client that sends one counts on it. */
const NOT_DONE = [
  /^x-amz-server-side-encryption/,
  /^x-amz-copy-source-server-side-encryption/,
  /^x-amz-website-redirect-location$/,
  /^x-amz-write-offset-bytes$/,
  /^x-amz-if-match-/,
  /^x-amz-mfa$/,
]

/** Canned ACLs that say no more than is true of any object: its owner, and that of its bucket, may read it. */
const OWNERS_ACLS = new Set(['private', 'bucket-owner-read', 'bucket-owner-full-control'])

/**
 * Refuses a write that wants of its object what nobody here does.
 *
 * @param headers or the fields of a form, under headers' names
 * @throws NotImplemented, InvalidStorageClass, NoAcls
 */
export async function refuseUnsupported(
  request: S3Request,
  headers: IncomingHttpHeaders = request.c.env.incoming.headers,
): Promise<void> {
  for (const name in headers) {
    if (!name.startsWith('x-amz-')) continue
    if (NOT_DONE.some((pattern) => pattern.test(name))) {
      throw new StorageError('NotImplemented', { message: `${name} is not supported` })
    }
    if (name.startsWith('x-amz-grant-')) throw new StorageError('NoAcls')
  }
  const storageClass = headers['x-amz-storage-class']
  if (storageClass !== undefined && storageClass !== 'STANDARD') throw new StorageError('InvalidStorageClass')
  const acl = headers['x-amz-acl']?.toString()
  if (acl !== undefined && !OWNERS_ACLS.has(acl)) await refuseUntrueAcl(request, acl)
}

/** What a public bucket holds is `public-read` whether it is said or not. @throws NoAcls */
async function refuseUntrueAcl({ services, bucket }: S3Request, acl: string): Promise<void> {
  if (acl !== 'public-read' || !(await services.buckets.demand(bucket)).public)
    throw new StorageError('NoAcls')
}
