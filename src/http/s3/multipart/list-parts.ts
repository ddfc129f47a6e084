import { MAX_PART_NUMBER } from '../../../backend/resumable-backend.ts'
import type { KeptPart } from '../../../database/queries/multipart-parts.ts'
import { CHECKSUM_ALGORITHMS } from '../../../model/checksums.ts'
import { integerIn } from '../parameters.ts'
import type { Operation } from '../request.ts'
import type { XmlElements } from '../xml-writer.ts'
import { placeOf } from './place.ts'

/** Most in one answer. */
const MOST = 1000

/** GET with `uploadId`: the parts that an upload has (wire §6.3). */
export const listParts: Operation = {
  name: 'storage.s3.upload.list_parts',
  async handle(request) {
    const { services, bucket, key, query } = request
    const caller = await request.caller()
    const place = placeOf(request)
    const most = integerIn(query, 'max-parts', { from: 0, to: MOST }) ?? MOST
    const after = integerIn(query, 'part-number-marker', { from: 0, to: MAX_PART_NUMBER }) ?? 0
    // One more shows whether there are others.
    const { upload, parts: found } = await services.multipart.parts(caller, place, after, most + 1)
    const parts = found.slice(0, most)
    const { checksum } = upload.content
    const who = { ID: upload.ownerId ?? upload.ownerRole, DisplayName: upload.ownerId ?? upload.ownerRole }
    return request.xml('ListPartsResult', {
      Bucket: bucket,
      Key: key,
      UploadId: place.uploadId,
      Initiator: who,
      Owner: who,
      StorageClass: 'STANDARD',
      PartNumberMarker: after,
      NextPartNumberMarker: parts.at(-1)?.number ?? after,
      MaxParts: most,
      IsTruncated: most > 0 && found.length > most,
      ChecksumAlgorithm: checksum?.algorithm,
      ChecksumType: checksum?.type,
      Part: parts.map(partElements),
    })
  },
}

function partElements({ number, createdAt, etag, size, checksums }: KeptPart): XmlElements {
  const elements: XmlElements = {
    PartNumber: number,
    LastModified: createdAt.toISOString(),
    ETag: etag,
    Size: size,
  }
  for (const algorithm of CHECKSUM_ALGORITHMS) elements[`Checksum${algorithm}`] = checksums[algorithm]
  return elements
}
