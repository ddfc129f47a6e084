import type { MultipartContent } from '../../../database/queries/multipart-uploads.ts'
import { isChecksumAlgorithm, typesInParts } from '../../../model/checksums.ts'
import { StorageError } from '../../../model/errors.ts'
import { DEFAULT_CACHE_CONTROL } from '../../../storage/object/stored-object.ts'
import { parseAlgorithm } from '../checksum-words.ts'
import { contentOf } from '../objects/content.ts'
import { refuseUnsupported } from '../objects/refusals.ts'
import type { Operation, S3Request } from '../request.ts'

/** POST with `uploads`: begins an upload in parts (wire §6.3). */
export const createMultipartUpload: Operation = {
  name: 'storage.s3.upload.create_multipart',
  async handle(request) {
    const { services, bucket, key, name } = request
    const caller = await request.caller()
    await refuseUnsupported(request)
    const { contentType, cacheControl, contentEncoding, userMetadata, tags, lock, headers } =
      contentOf(request)
    const checksum = checksumWanted(request)
    const UploadId = await services.multipart.create(caller, {
      bucket,
      name,
      content: {
        contentType,
        cacheControl: cacheControl ?? DEFAULT_CACHE_CONTROL,
        userMetadata,
        s3: headers,
        ...(contentEncoding !== undefined && { contentEncoding }),
        ...(tags && { tags }),
        ...(lock && { lock: { ...lock, retainUntil: lock.retainUntil?.toISOString() } }),
        ...(checksum && { checksum }),
      },
      share: request.client(caller),
    })
    return request.xml(
      'InitiateMultipartUploadResult',
      { Bucket: bucket, Key: key, UploadId },
      checksum && {
        'x-amz-checksum-algorithm': checksum.algorithm,
        'x-amz-checksum-type': checksum.type,
      },
    )
  },
}

/** @throws InvalidRequest when the algorithm has no such type */
function checksumWanted(request: S3Request): MultipartContent['checksum'] {
  const algorithm = parseAlgorithm(request.header('x-amz-checksum-algorithm'))
  const type = request.header('x-amz-checksum-type')?.toUpperCase()
  if (!isChecksumAlgorithm(algorithm)) {
    if (type === undefined) return undefined
    throw new StorageError('InvalidRequest', {
      message: 'x-amz-checksum-type needs x-amz-checksum-algorithm',
    })
  }
  const types = typesInParts(algorithm)
  const found = type === undefined ? types[0] : types.find((known) => known === type)
  if (found) return { algorithm, type: found }
  throw new StorageError('InvalidRequest', {
    message: `The checksum type of ${algorithm} must be ${types.join(' or ')}`,
  })
}
