import { StorageError } from '../../../model/errors.ts'
import { countParts, eachPart, type ObjectParts } from '../../../model/object-parts.ts'
import { checksumOf, partsOf } from '../../../storage/object/s3-metadata.ts'
import type { StoredObject } from '../../../storage/object/stored-object.ts'
import { checksumElements } from '../checksum-words.ts'
import type { Operation, S3Request } from '../request.ts'
import { tellingOfMarkers, versionHeaders, versionIn } from '../version-ids.ts'
import type { XmlElements } from '../xml-writer.ts'

/** What can be asked for, in the order in which it is told. */
const ATTRIBUTES: Record<string, (object: StoredObject, request: S3Request) => XmlElements> = {
  // Without its quotes, here alone.
  ETag: ({ etag }) => ({ ETag: etag.slice(1, -1) }),
  Checksum: (object) => {
    const checksum = checksumOf(object)
    return checksum ? { Checksum: checksumElements(checksum) } : {}
  },
  ObjectParts: (object, request) => {
    const parts = partsOf(object)
    return parts ? { ObjectParts: partElements(object, parts, request) } : {}
  },
  StorageClass: () => ({ StorageClass: 'STANDARD' }),
  ObjectSize: ({ size }) => ({ ObjectSize: size ?? 0 }),
}

/** Parts of an answer, as with S3. */
const MOST_PARTS = 1000

/** GET with `?attributes`: what is known of an object, of its parts, too (wire §6.3). */
export const getObjectAttributes: Operation = {
  name: 'storage.s3.object.get_attributes',
  ofVersions: true,
  async handle(request) {
    const { services, bucket, name, query } = request
    const caller = await request.caller()
    const wanted = wantedAttributes(request.header('x-amz-object-attributes'))
    const target = { access: 'caller', bucket, name, version: versionIn(query), withMarker: true } as const
    const { object } = await tellingOfMarkers(() => services.files.find(caller, target))
    const elements: XmlElements = {}
    for (const [attribute, tell] of Object.entries(ATTRIBUTES)) {
      if (wanted.has(attribute)) Object.assign(elements, tell(object, request))
    }
    return request.xml('GetObjectAttributesResponse', elements, {
      'Last-Modified': object.lastModified.toUTCString(),
      ...versionHeaders(object.versionId),
    })
  },
}

/** @throws InvalidParameter */
function wantedAttributes(header = ''): Set<string> {
  const names = header.split(',').map((name) => name.trim())
  if (names.every((name) => Object.hasOwn(ATTRIBUTES, name))) return new Set(names)
  throw new StorageError('InvalidParameter', {
    message: `x-amz-object-attributes must name some of ${Object.keys(ATTRIBUTES).join(', ')}`,
  })
}

function partElements(object: StoredObject, parts: ObjectParts, request: S3Request): XmlElements {
  const most = Math.min(numberIn(request, 'x-amz-max-parts') ?? MOST_PARTS, MOST_PARTS)
  const after = numberIn(request, 'x-amz-part-number-marker') ?? 0
  const algorithm = checksumOf(object)?.algorithm
  const listed: XmlElements[] = []
  let isTruncated = false
  for (const { number, size, checksum } of eachPart(parts, after)) {
    isTruncated = most > 0 && listed.length === most
    if (listed.length === most) break
    listed.push({
      ...(checksum !== null && algorithm && { [`Checksum${algorithm}`]: checksum }),
      PartNumber: number,
      Size: size,
    })
  }
  return {
    IsTruncated: isTruncated,
    MaxParts: most,
    ...(isTruncated && { NextPartNumberMarker: after + listed.length }),
    PartNumberMarker: after,
    Part: listed,
    PartsCount: countParts(parts),
  }
}

/** @throws InvalidParameter */
function numberIn(request: S3Request, header: string): number | undefined {
  const text = request.header(header)
  if (text === undefined) return undefined
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new StorageError('InvalidParameter', { message: `${header} must be a number` })
}
