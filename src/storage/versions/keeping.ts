import type { Database } from '../../database/connection/client.ts'
import { findVersioning } from '../../database/queries/buckets.ts'
import { StorageError } from '../../model/errors.ts'

/** Sees to it that what is overwritten in a bucket now stays as a version. @throws NoSuchBucket, FeatureNotEnabled */
export async function requireVersions(database: Database, bucketId: string): Promise<void> {
  const status = await findVersioning(database, bucketId)
  if (status === null) throw new StorageError('NoSuchBucket')
  if (status === 'ENABLED') return
  const message = `The bucket keeps no versions: its versioning_status is ${status}`
  throw new StorageError('FeatureNotEnabled', { message })
}
