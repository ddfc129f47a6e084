import type { BucketRow } from '../../../database/queries/buckets.ts'
import { hasCode, StorageError } from '../../../model/errors.ts'
import type { Operation, S3Request } from '../request.ts'
import { childText, malformed } from '../xml-reader.ts'

type Status = BucketRow['versioningStatus']

const WORDS: Partial<Record<Status, string>> = { ENABLED: 'Enabled', SUSPENDED: 'Suspended' }

/** GET of whether a bucket keeps versions; nothing is said of one that never has. */
export const getBucketVersioning: Operation = {
  name: 'storage.s3.bucket.get_versioning',
  async handle(request) {
    const caller = await request.caller()
    const { versioningStatus } = await request.services.buckets.get(caller, request.bucket)
    const Status = WORDS[versioningStatus]
    return request.xml('VersioningConfiguration', Status === undefined ? '' : { Status })
  },
}

/** PUT of it. */
export const putBucketVersioning: Operation = {
  name: 'storage.s3.bucket.put_versioning',
  async handle(request) {
    const caller = await request.caller()
    const { services, bucket } = request
    const versioningStatus = await statusIn(request)
    try {
      await services.buckets.update(caller, bucket, { versioningStatus })
    } catch (error) {
      if (!hasCode(error, 'InvalidParameter')) throw error
      const { objectLock } = await services.buckets.get(caller, bucket)
      const code = objectLock ? 'InvalidBucketState' : 'IllegalVersioningConfiguration'
      throw new StorageError(code, { message: error.message, cause: error })
    }
    return request.empty(200)
  },
}

/** @throws MalformedXML, IllegalVersioningConfiguration, NotImplemented, and as `readXml` */
async function statusIn(request: S3Request): Promise<Status> {
  const configuration = await request.readXml('VersioningConfiguration')
  if (childText(configuration, 'MfaDelete') === 'Enabled' || request.header('x-amz-mfa') !== undefined) {
    throw new StorageError('NotImplemented', { message: 'MfaDelete is not supported' })
  }
  const said = childText(configuration, 'Status')
  if (said === undefined) {
    throw new StorageError('IllegalVersioningConfiguration', { message: 'The Status is missing' })
  }
  if (said === WORDS.ENABLED) return 'ENABLED'
  if (said === WORDS.SUSPENDED) return 'SUSPENDED'
  throw malformed('Status must be Enabled or Suspended')
}
