import type { UploadAddress } from '../../database/queries/resumable-uploads.ts'
import { fromBase64url } from '../../lib/base64url.ts'
import { UUID } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import { isStorableText } from '../../storage/object/object-name.ts'

/** The last part of an upload's URL: base64url of `<bucket>/<name>/<version>` (wire §5.4). */
export function uploadId({ bucket, name, version }: UploadAddress): string {
  return Buffer.from(`${bucket}/${name}/${version}`).toString('base64url')
}

/**
 * What such an id says; whether there is such an upload is for the storage to say.
 *
 * @throws InvalidUploadId when it is no base64url, in its one spelling; NoSuchUpload when it is another server's, perhaps
 */
export function parseUploadId(id: string): UploadAddress {
  const bytes = fromBase64url(id)
  if (!bytes) throw new StorageError('InvalidUploadId')
  const text = bytes.toString()
  const first = text.indexOf('/')
  const last = text.lastIndexOf('/')
  const address = {
    bucket: text.slice(0, first),
    name: text.slice(first + 1, last),
    version: text.slice(last + 1),
  }
  // The decoder passes over bytes that are no UTF-8.
  const isOurs = first > 0 && first < last && UUID.test(address.version) && uploadId(address) === id
  if (!isOurs || !isStorableText(text)) throw new StorageError('NoSuchUpload')
  return address
}
