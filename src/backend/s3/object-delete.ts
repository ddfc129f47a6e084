import { DeleteObjectCommand } from '@aws-sdk/client-s3'
import { hasCode } from '../../model/errors.ts'
import type { Store } from './store.ts'

/** Deleting nothing is a success. @throws BackendUnavailable, BackendRefused */
export async function deleteObject(store: Store, key: string): Promise<void> {
  try {
    await store.send(new DeleteObjectCommand({ Bucket: store.bucket, Key: key }))
  } catch (error) {
    // Amazon is content when there is nothing to delete; some stores say that it is missing.
    if (!hasCode(error, 'MissingBytes')) throw error
  }
}
