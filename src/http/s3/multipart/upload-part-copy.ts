import { Readable } from 'node:stream'
import type { MultipartContent } from '../../../database/queries/multipart-uploads.ts'
import { StorageError } from '../../../model/errors.ts'
import type { ByteRange } from '../../../model/location.ts'
import type { SentPart } from '../../../storage/multipart/part-arrivals.ts'
import type { StoredObject } from '../../../storage/object/stored-object.ts'
import type { Representation } from '../../../storage/reading/representation.ts'
import { checkConditions } from '../../message/conditionals.ts'
import { conditionsOf } from '../objects/conditions.ts'
import { refuseUnsupported } from '../objects/refusals.ts'
import { parseCopySource } from '../objects/source.ts'
import { PassingDigests } from '../passing-digests.ts'
import type { Operation, S3Request } from '../request.ts'
import { versionHeaders } from '../version-ids.ts'
import { partNumberOf, placeOf } from './place.ts'

/** PUT with `uploadId` and a source: a part of bytes that another object has (wire §6.3). */
export const uploadPartCopy: Operation = {
  name: 'storage.s3.upload.part_copy',
  async handle(request) {
    const { c, services } = request
    const caller = await request.caller()
    await refuseUnsupported(request)
    const number = partNumberOf(request)
    const target = {
      ...parseCopySource(request.header('x-amz-copy-source') ?? ''),
      access: 'policy',
      withBytes: true,
    } as const
    let sourceVersion: string | null = null
    const part = await services.files.download(caller, target, async (representation, object) => {
      demandOfSource(request, object)
      sourceVersion = object.versionId
      const { part, size } = rangeOf(request, object)
      const bytes = await streamOf(representation, part)
      try {
        // Its bytes pass through here as those of an upload do.
        return await services.uploads.during(c.env.incoming, request.client(caller), (admit) =>
          services.multipart.addPart(
            caller,
            placeOf(request),
            copiedPart(request, number, size, bytes, admit),
          ),
        )
      } finally {
        bytes.destroy()
      }
    })
    const { etag, createdAt, checksums } = part
    const sums = Object.entries(checksums).map(([algorithm, value]) => [`Checksum${algorithm}`, value])
    return request.xml(
      'CopyPartResult',
      { LastModified: createdAt.toISOString(), ETag: etag, ...Object.fromEntries(sums) },
      versionHeaders(sourceVersion, 'x-amz-copy-source-version-id'),
    )
  },
}

/** @throws PreconditionFailed */
function demandOfSource(request: S3Request, object: StoredObject): void {
  if (checkConditions(conditionsOf(request, 'x-amz-copy-source-'), object) === 'proceed') return
  throw new StorageError('PreconditionFailed')
}

/** @throws InvalidParameter unless all of it is there; MissingBytes when the source has none of ours */
function rangeOf(request: S3Request, { size }: StoredObject): { part: 'whole' | ByteRange; size: number } {
  if (size === null) throw new StorageError('MissingBytes')
  const text = request.header('x-amz-copy-source-range')
  if (text === undefined) return { part: 'whole', size }
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(text) ?? []
  const start = Number(first)
  const end = Number(last)
  if (start <= end && end < size) return { part: { start, end }, size: end - start + 1 }
  throw new StorageError('InvalidParameter', {
    message: `x-amz-copy-source-range must be bytes=first-last, within the ${size} bytes of the source`,
  })
}

/** A part whose digests are computed as it passes. */
function copiedPart(
  { md5Thread }: S3Request,
  number: number,
  size: number,
  bytes: Readable,
  admit: () => void,
): SentPart {
  return {
    number,
    size,
    open: ({ checksum }: MultipartContent) => {
      const digests = new PassingDigests(checksum?.algorithm)
      return {
        stream: digests.watch(bytes, size, md5Thread),
        admit,
        discard: () => {
          digests.leave()
          bytes.destroy()
        },
        md5: () => digests.md5(),
        late: async (written) => {
          const { eTag, checksum } = await digests.digest(written)
          return { s3: { eTag, ...(checksum && { checksum }) } }
        },
      }
    },
  }
}

async function streamOf(representation: Representation, part: 'whole' | ByteRange): Promise<Readable> {
  const bytes = await representation.open(part)
  if (bytes instanceof URL) throw new Error('nobody has asked for an address')
  return bytes instanceof Readable ? bytes : Readable.from([bytes])
}
