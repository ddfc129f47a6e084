import { MAX_PART_NUMBER } from '../../../backend/resumable-backend.ts'
import { CHECKSUM_ALGORITHMS, storedChecksum } from '../../../model/checksums.ts'
import { StorageError } from '../../../model/errors.ts'
import type { NamedPart } from '../../../storage/multipart/chosen-parts.ts'
import { logAssembled } from '../../env.ts'
import { absoluteUrl } from '../../message/public-url.ts'
import { checksumElements } from '../checksum-words.ts'
import { underCondition, writeConditionOf } from '../objects/conditions.ts'
import type { Operation, S3Request } from '../request.ts'
import { versionHeaders } from '../version-ids.ts'
import { childText, malformed, type XmlElement } from '../xml-reader.ts'
import { describedBy } from './described.ts'
import { placeOf } from './place.ts'

/** POST with `uploadId`: makes the object of its parts (wire §6.3). */
export const completeMultipartUpload: Operation = {
  name: 'storage.s3.upload.complete_multipart',
  async handle(request) {
    const { c, services, bucket, key } = request
    const caller = await request.caller()
    const condition = writeConditionOf(request)
    const parts = await namedParts(request)
    const { metadata, versionId, made } = await underCondition(request, caller, condition, () =>
      services.multipart.complete(caller, placeOf(request), {
        parts,
        condition,
        describe: (chosen, content) => describedBy(request, chosen, content),
      }),
    )
    if (made) logAssembled(c, made)
    const checksum = storedChecksum(metadata.checksum)
    return request.xml(
      'CompleteMultipartUploadResult',
      {
        Location: absoluteUrl(c, services, c.env.target.path),
        Bucket: bucket,
        Key: key,
        ETag: metadata.eTag,
        ...(checksum && checksumElements(checksum)),
      },
      versionHeaders(versionId),
    )
  },
}

/** None stands for all. @throws MalformedXML, InvalidParameter, and as `readBody` */
async function namedParts(request: S3Request): Promise<NamedPart[]> {
  const root = await request.readXml('CompleteMultipartUpload')
  const parts = root.children.filter(({ name }) => name === 'Part')
  if (parts.length > MAX_PART_NUMBER) throw malformed(`it names more than ${MAX_PART_NUMBER} parts`)
  return parts.map(namedPart)
}

function namedPart(element: XmlElement): NamedPart {
  const number = childText(element, 'PartNumber')?.trim() ?? ''
  const etag = childText(element, 'ETag')
  if (!/^\d{1,5}$/.test(number) || etag === undefined) {
    throw malformed('each Part must have a PartNumber and an ETag')
  }
  if (Number(number) < 1 || Number(number) > MAX_PART_NUMBER) {
    throw new StorageError('InvalidParameter', {
      message: `PartNumber must be a number between 1 and ${MAX_PART_NUMBER}`,
    })
  }
  const checksums: NonNullable<NamedPart['checksums']> = {}
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const value = childText(element, `Checksum${algorithm}`)
    if (value !== undefined) checksums[algorithm] = value
  }
  return { number: Number(number), etag, checksums }
}
