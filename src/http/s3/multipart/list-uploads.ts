import { keyOfName, nameOfKey } from '../../../storage/object/folder-marker.ts'
import { askerOf } from '../../auth/caller.ts'
import { integerIn, keyWriterIn, textIn } from '../parameters.ts'
import type { Operation } from '../request.ts'

/** Most in one answer. */
const MOST = 1000

/** GET of a bucket with `uploads`: what is unfinished in it (wire §6.3). */
export const listMultipartUploads: Operation = {
  name: 'storage.s3.upload.list_multipart',
  async handle(request) {
    const { c, services, bucket, query } = request
    const caller = await request.caller()
    const prefix = textIn(query, 'prefix')
    const delimiter = textIn(query, 'delimiter')
    const keyMarker = textIn(query, 'key-marker')
    const idMarker = textIn(query, 'upload-id-marker')
    const most = integerIn(query, 'max-uploads', { from: 0, to: MOST }) ?? MOST
    const write = keyWriterIn(query)
    const found = await services.multipart.list(caller, askerOf(c, services, caller), {
      bucketId: bucket,
      prefix,
      delimiter,
      // Without a name an id says nothing.
      after: { name: nameOfKey(keyMarker), id: keyMarker === '' || idMarker === '' ? null : idMarker },
      limit: most + 1, // one more shows whether there are others
    })
    const entries = found.slice(0, most)
    const last = entries.at(-1)
    const isTruncated = most > 0 && found.length > most
    const uploads = entries.filter((entry) => entry.id !== null)
    return request.xml('ListMultipartUploadsResult', {
      Bucket: bucket,
      KeyMarker: write(keyMarker),
      UploadIdMarker: keyMarker === '' ? '' : idMarker,
      NextKeyMarker: isTruncated && last ? write(keyOfName(last.name)) : undefined,
      NextUploadIdMarker: isTruncated ? (last?.id ?? undefined) : undefined,
      Prefix: write(prefix),
      Delimiter: delimiter === '' ? undefined : write(delimiter),
      EncodingType: query.get('encoding-type') || undefined,
      MaxUploads: most,
      IsTruncated: isTruncated,
      Upload: uploads.map(({ name, id, createdAt }) => ({
        Key: write(keyOfName(name)),
        UploadId: id,
        StorageClass: 'STANDARD',
        Initiated: createdAt.toISOString(),
      })),
      CommonPrefixes: entries
        .filter((entry) => entry.id === null)
        .map(({ name }) => ({ Prefix: write(name) })),
    })
  },
}
