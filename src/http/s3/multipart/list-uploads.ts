import { keyOfName, nameOfKey } from '../../../storage/object/folder-marker.ts'
import { askerOf } from '../../auth/caller.ts'
import { keyWriter } from '../encoding-type.ts'
import type { Operation } from '../request.ts'
import { countIn } from './place.ts'

/** Most in one answer. */
const MOST = 1000

/** GET of a bucket with `uploads`: what is unfinished in it (wire §6.3). */
export const listMultipartUploads: Operation = {
  name: 'storage.s3.upload.list_multipart',
  async handle(request) {
    const { c, services, bucket, query } = request
    const caller = await request.caller()
    const prefix = query.get('prefix') ?? ''
    const delimiter = query.get('delimiter') ?? ''
    const keyMarker = query.get('key-marker') ?? ''
    const idMarker = query.get('upload-id-marker') ?? ''
    const most = countIn(request, 'max-uploads', MOST, MOST)
    const written = keyWriter(request)
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
      KeyMarker: written(keyMarker),
      UploadIdMarker: keyMarker === '' ? '' : idMarker,
      NextKeyMarker: isTruncated && last ? written(keyOfName(last.name)) : undefined,
      NextUploadIdMarker: isTruncated ? (last?.id ?? undefined) : undefined,
      Prefix: written(prefix),
      Delimiter: delimiter === '' ? undefined : written(delimiter),
      EncodingType: query.get('encoding-type'),
      MaxUploads: most,
      IsTruncated: isTruncated,
      Upload: uploads.map(({ name, id, createdAt }) => ({
        Key: written(keyOfName(name)),
        UploadId: id,
        StorageClass: 'STANDARD',
        Initiated: createdAt.toISOString(),
      })),
      CommonPrefixes: entries
        .filter((entry) => entry.id === null)
        .map(({ name }) => ({ Prefix: written(name) })),
    })
  },
}
