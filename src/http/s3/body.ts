import type { ChecksumAlgorithm } from '../../model/checksums.ts'
import type { S3Headers } from '../../storage/object/s3-metadata.ts'
import type { UploadBody } from '../../storage/writing/upload-request.ts'
import { expectInOneGo } from '../connection/body-pace.ts'
import { RunningBodyDigests } from './body-digests.ts'
import type { S3Request } from './request.ts'

export interface S3Body extends UploadBody {
  /** Of all the bytes, once they have passed. */
  md5(): Promise<Buffer>
}

/**
 * The bytes that a request brings, whose digests are computed as they pass, and compared before anything is stored.
 *
 * @param admit takes a place for the upload
 * @param options.usual the algorithm of the checksum of a client that names none
 * @param options.headers what else the object's row keeps
 * @throws InvalidDigest, InvalidRequest; late: ContentHashMismatch, BadDigest, InvalidRequest
 */
export function readBody(
  request: S3Request,
  admit: () => void,
  { usual, headers }: { usual?: ChecksumAlgorithm | undefined; headers?: S3Headers } = {},
): S3Body {
  const { incoming } = request.c.env
  const digests = new RunningBodyDigests(incoming.headers, request.payload, usual)
  const body = request.body()
  const { length, trailers } = body
  return {
    stream: digests.watch(body, request.md5Thread),
    giveBack: (chunks) => digests.giveBack(chunks),
    hasArrived: () => incoming.complete,
    expectBeginning: () => expectInOneGo(incoming),
    admit,
    declaredSize: length,
    requestLength: length,
    discard: () => {
      digests.leave()
      if (body.stream !== incoming) body.stream.destroy() // lets go of the request, which is read off behind the answer
    },
    md5: () => digests.md5(),
    late: async (written) => {
      const { eTag, checksum } = await digests.verify(written, trailers)
      return { s3: { ...headers, eTag, ...(checksum && { checksum }) } }
    },
  }
}
