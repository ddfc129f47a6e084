import { StorageError } from '../../../model/errors.ts'
import { guessContentType } from '../../../storage/object/content-type.ts'
import { checksumOf } from '../../../storage/object/s3-metadata.ts'
import { DEFAULT_CACHE_CONTROL, type StoredObject } from '../../../storage/object/stored-object.ts'
import type { ReplacedMetadata } from '../../../storage/writing/new-object.ts'
import { logObject, logRoute } from '../../env.ts'
import { checkConditions } from '../../message/conditionals.ts'
import { checksumElements, parseAlgorithm } from '../checksum-words.ts'
import type { Operation, S3Request } from '../request.ts'
import { versionHeaders } from '../version-ids.ts'
import { conditionsOf, underCondition, writeConditionOf } from './conditions.ts'
import { contentOf, type SentContent } from './content.ts'
import { refuseUnsupported } from './refusals.ts'
import { parseCopySource, type Source } from './source.ts'

/** PUT of an object with the bytes of another one (wire §6.3). */
export const copyObject: Operation = {
  name: 'storage.s3.object.copy',
  async handle(request) {
    const { c, services, bucket, name } = request
    const caller = await request.caller()
    await refuseUnsupported(request)
    const from = parseCopySource(request.header('x-amz-copy-source') ?? '')
    logRoute(c, from, request)
    const content = contentOf(request)
    const checksumAlgorithm = parseAlgorithm(request.header('x-amz-checksum-algorithm'))
    const replace = isReplaced(request, 'x-amz-metadata-directive') ? replacing(content, name) : undefined
    const tags = isReplaced(request, 'x-amz-tagging-directive') ? (content.tags ?? []) : undefined
    if (!replace && !tags && !checksumAlgorithm && !content.lock) refuseItself(request, from)
    const condition = writeConditionOf(request)
    let sourceVersion: string | null = null
    const { object } = await underCondition(request, caller, condition, () =>
      services.files.copy(caller, {
        from,
        to: { bucket, name },
        upsert: condition?.ifNoneMatch !== '*', // as of an upload
        condition,
        replace,
        tags,
        lock: content.lock,
        checksumAlgorithm,
        checkSource: (source) => {
          checkSource(request, source)
          sourceVersion = source.versionId
        },
      }),
    )
    logObject(c, object)
    const checksum = checksumOf(object)
    return request.xml(
      'CopyObjectResult',
      {
        LastModified: object.lastModified.toISOString(),
        ETag: object.etag,
        ...(checksum && checksumElements(checksum)),
      },
      {
        ...versionHeaders(object.versionId),
        ...versionHeaders(sourceVersion, 'x-amz-copy-source-version-id'),
      },
    )
  },
}

/** @throws InvalidParameter for another word than the two that there are */
function isReplaced(request: S3Request, directive: string): boolean {
  const word = request.header(directive) ?? 'COPY'
  if (word === 'COPY' || word === 'REPLACE') return word === 'REPLACE'
  throw new StorageError('InvalidParameter', { message: `${directive} must be COPY or REPLACE` })
}

/** All that an upload with these headers would say. */
function replacing({ headers, userMetadata, ...content }: SentContent, name: string): ReplacedMetadata {
  return {
    contentType: content.contentType ?? guessContentType(name),
    cacheControl: content.cacheControl ?? DEFAULT_CACHE_CONTROL,
    contentEncoding: content.contentEncoding ?? '',
    userMetadata,
    s3: headers,
  }
}

/** @throws InvalidRequest, as S3 does: such a copy would change nothing but the version, unless it brings a former one back */
function refuseItself({ bucket, name }: S3Request, from: Source): void {
  if (from.bucket !== bucket || from.name !== name || from.version) return
  throw new StorageError('InvalidRequest', {
    message:
      'This copy request is illegal because it is trying to copy an object to itself without changing ' +
      'its metadata, tags or checksum',
  })
}

/** @throws PreconditionFailed */
function checkSource(request: S3Request, source: StoredObject): void {
  const verdict = checkConditions(conditionsOf(request, 'x-amz-copy-source-'), source)
  if (verdict !== 'proceed') throw new StorageError('PreconditionFailed')
}
