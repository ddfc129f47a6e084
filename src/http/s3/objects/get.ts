import { StorageError } from '../../../model/errors.ts'
import type { ByteRange } from '../../../model/location.ts'
import { countParts, type ObjectPart, partAt, rangeOf } from '../../../model/object-parts.ts'
import { checksumOf, partsOf } from '../../../storage/object/s3-metadata.ts'
import type { StoredObject } from '../../../storage/object/stored-object.ts'
import { type ObjectHeaders, type SendOptions, sendRepresentation } from '../../message/object-response.ts'
import { checksumHeaders, headerOf } from '../checksum-words.ts'
import type { Operation, S3Request } from '../request.ts'
import { tellingOfMarkers, versionIn } from '../version-ids.ts'
import { conditionsOf } from './conditions.ts'
import { lockHeadersOf } from './lock-headers.ts'
import { objectHeaders } from './object-headers.ts'

/** GET of an object: it, a range, or one of the parts that it came in (wire §6.3). */
export const getObject: Operation = { name: 'storage.s3.object.get', ofVersions: true, handle: send }

/** The same without the bytes. */
export const headObject: Operation = { name: 'storage.s3.object.info', ofVersions: true, handle: send }

async function send(request: S3Request): Promise<Response> {
  const { c, services, bucket, name } = request
  const caller = await request.caller()
  const number = partNumberOf(request)
  const target = {
    access: 'caller',
    bucket,
    name,
    version: versionIn(request.query),
    withMarker: true,
    withBytes: c.req.method !== 'HEAD',
  } as const
  return tellingOfMarkers(() =>
    services.files.download(caller, target, async (representation, object) => {
      c.env.notes.objectId = object.id
      const lock = await lockHeadersOf(request, caller, object)
      return sendRepresentation(c, representation, {
        ...answerWith(request, object, number, lock),
        conditions: conditionsOf(request),
        headHasRanges: true,
      })
    }),
  )
}

/** @throws InvalidPartNumber, InvalidHeaderChar */
function answerWith(
  request: S3Request,
  object: StoredObject,
  number: number | undefined,
  lock: Record<string, string>,
): Pick<SendOptions, 'headers' | 'part'> {
  const headers = { ...objectHeaders(request, object), ...lock }
  if (number !== undefined) return partOf(request, object, number, headers)
  // Of a range nothing is known by which it could be checked.
  if (wantsChecksum(request) && request.header('range') === undefined) addChecksum(headers, object)
  return { headers }
}

function partOf(request: S3Request, object: StoredObject, number: number, headers: ObjectHeaders) {
  const parts = partsOf(object)
  if (!parts) {
    // What came in one piece is its first part.
    if (number > 1) throw new StorageError('InvalidPartNumber')
    if (wantsChecksum(request)) addChecksum(headers, object)
    return { headers, part: wholeOf(object) }
  }
  const part = partAt(parts, number)
  if (!part) throw new StorageError('InvalidPartNumber')
  headers['x-amz-mp-parts-count'] = String(countParts(parts))
  if (wantsChecksum(request)) addPartsChecksum(headers, object, part)
  return { headers, part: rangeOf(part) ?? undefined }
}

function wholeOf({ size }: StoredObject): ByteRange | undefined {
  return size === null || size === 0 ? undefined : { start: 0, end: size - 1 }
}

function wantsChecksum(request: S3Request): boolean {
  return request.header('x-amz-checksum-mode')?.toUpperCase() === 'ENABLED'
}

function addChecksum(headers: ObjectHeaders, object: StoredObject): void {
  const checksum = checksumOf(object)
  if (checksum) Object.assign(headers, checksumHeaders(checksum))
}

function addPartsChecksum(headers: ObjectHeaders, object: StoredObject, { checksum }: ObjectPart): void {
  const whole = checksumOf(object)
  if (!whole || checksum === null) return
  headers[headerOf(whole.algorithm)] = checksum
  headers['x-amz-checksum-type'] = whole.type
}

/** @throws InvalidParameter, InvalidRequest beside a range */
function partNumberOf(request: S3Request): number | undefined {
  const text = request.query.get('partNumber')
  if (text === undefined) return undefined
  if (request.header('range') !== undefined) {
    throw new StorageError('InvalidRequest', { message: 'A range of a part cannot be asked for' })
  }
  if (!/^(?:[1-9]\d{0,3}|10000)$/.test(text)) {
    throw new StorageError('InvalidParameter', { message: 'partNumber must be between 1 and 10000' })
  }
  return Number(text)
}
