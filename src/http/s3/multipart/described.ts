import type { KeptPart } from '../../../database/queries/multipart-parts.ts'
import type { MultipartContent } from '../../../database/queries/multipart-uploads.ts'
import { type Checksum, checksumOfParts, md5EtagOfParts } from '../../../model/checksums.ts'
import { StorageError } from '../../../model/errors.ts'
import { objectParts } from '../../../model/object-parts.ts'
import type { S3Metadata } from '../../../storage/object/s3-metadata.ts'
import { headerOf } from '../checksum-words.ts'
import type { S3Request } from '../request.ts'

/**
 * How S3 clients know an object that was made of parts: nothing of it is read for that.
 *
 * @throws BadDigest, InvalidRequest when the request says otherwise
 */
export function describedBy(
  request: S3Request,
  parts: KeptPart[],
  { checksum: wanted }: MultipartContent,
): S3Metadata {
  const size = parts.reduce((sum, part) => sum + part.size, 0)
  const said = request.header('x-amz-mp-object-size')
  if (said !== undefined && said !== String(size)) {
    throw new StorageError('InvalidRequest', {
      message: `The parts have ${size} bytes, and not the ${said} of x-amz-mp-object-size`,
    })
  }
  const eTag = md5EtagOfParts(parts.map(({ etag }) => Buffer.from(etag.replaceAll('"', ''), 'hex')))
  const checksum = wanted && checksumOf(parts, wanted)
  if (checksum) compare(checksum, request.header(headerOf(checksum.algorithm)))
  const sums = parts.map((part) => ({
    size: part.size,
    checksum: wanted && part.checksums[wanted.algorithm],
  }))
  return { eTag, parts: objectParts(sums), ...(checksum && { checksum }) }
}

/** Each part has one by the upload's algorithm, whether its client has sent it or not. */
function checksumOf(
  parts: KeptPart[],
  { algorithm, type }: NonNullable<MultipartContent['checksum']>,
): Checksum {
  const sums = parts.map(({ checksums, size }) => ({ value: checksums[algorithm] ?? '', size }))
  return checksumOfParts(algorithm, type, sums)
}

/** A composite one may come without the number of its parts. @throws BadDigest */
function compare({ algorithm, value }: Checksum, said: string | undefined): void {
  if (said === undefined || said === value || said === value.replace(/-\d+$/, '')) return
  const message = `The ${algorithm} you specified did not match that of the parts; the object was not made`
  throw new StorageError('BadDigest', { message })
}
