import type { MultipartContent } from '../../../database/queries/multipart-uploads.ts'
import { CHECKSUM_ALGORITHMS } from '../../../model/checksums.ts'
import { StorageError } from '../../../model/errors.ts'
import type { StoredPart } from '../../../storage/multipart/part-arrivals.ts'
import { readBody, type S3Body } from '../body.ts'
import { headerOf } from '../checksum-words.ts'
import { refuseUnsupported } from '../objects/refusals.ts'
import type { Operation } from '../request.ts'
import { partNumberOf, placeOf } from './place.ts'

/** PUT with `uploadId`: a part of an upload (wire §6.3). */
export const uploadPart: Operation = {
  name: 'storage.s3.upload.part',
  async handle(request) {
    const { c, services } = request
    const caller = await request.caller()
    await refuseUnsupported(request)
    const number = partNumberOf(request)
    const { length: size } = request.body()
    if (size === null) throw new StorageError('MissingContentLength')
    const part = await services.uploads.during(c.env.incoming, request.client(caller), (admit) =>
      services.multipart.addPart(caller, placeOf(request), {
        number,
        size,
        open: ({ checksum }) =>
          checkedAlike(readBody(request, admit, { usual: checksum?.algorithm }), checksum),
      }),
    )
    c.env.notes.size = part.size
    return request.empty(200, { ETag: part.etag, ...checksumHeadersOf(part) })
  },
}

/** All parts have a checksum by the upload's algorithm, or that of the whole could not be made of them. */
function checkedAlike(body: S3Body, wanted: MultipartContent['checksum']): S3Body {
  return {
    ...body,
    late: async (written) => {
      const late = await body.late(written)
      const algorithm = late.s3?.checksum?.algorithm
      if (!wanted || algorithm === wanted.algorithm) return late
      throw new StorageError('InvalidRequest', {
        message: `The upload was begun with ${wanted.algorithm}, and the part has come with ${algorithm}`,
      })
    },
  }
}

/** Not of which type they are: a part's are of all its bytes. */
function checksumHeadersOf({ checksums }: StoredPart): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const value = checksums[algorithm]
    if (value !== undefined) headers[headerOf(algorithm)] = value
  }
  return headers
}
