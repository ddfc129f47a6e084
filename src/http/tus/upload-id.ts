import type { UploadAddress } from '../../database/resumable-uploads.ts'
import { StorageError } from '../../errors.ts'
import { UUID } from '../../uuid.ts'

/** The last part of an upload's URL: base64url of `<bucket>/<name>/<version>` (contract §5.4). */
export function uploadId({ bucket, name, version }: UploadAddress): string {
  return Buffer.from(`${bucket}/${name}/${version}`).toString('base64url')
}

/** What such an id says; whether there is such an upload is for the storage to say. @throws InvalidUploadId */
export function parseUploadId(id: string): UploadAddress {
  const text = Buffer.from(id, 'base64url').toString()
  const first = text.indexOf('/')
  const last = text.lastIndexOf('/')
  const address = {
    bucket: text.slice(0, first),
    name: text.slice(first + 1, last),
    version: text.slice(last + 1),
  }
  // Only the one spelling: the decoder passes over what is no base64url, and over bytes that are no UTF-8.
  const isOurs = first > 0 && first < last && UUID.test(address.version) && uploadId(address) === id
  if (!isOurs) throw new StorageError('InvalidUploadId')
  return address
}
