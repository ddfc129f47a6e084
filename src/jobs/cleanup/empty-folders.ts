import { bucketsWithFolders, noteFoldersRemoved } from '../../database/queries/drift.ts'
import type { CleanupPass } from './pass.ts'

/** How many deleted buckets one pass looks at. */
const BUCKETS = 100

/**
 * Removes the folders of deleted buckets. Those of living ones stay, at most 256 each: to remove a folder while
 * another server makes a file in it could cost that file its flushed name.
 */
export async function removeEmptyFolders(pass: CleanupPass): Promise<void> {
  const { database, backend, graceMs, dryRun, scope } = pass.options
  if (scope !== undefined) return
  for (const uid of await bucketsWithFolders(database, graceMs, BUCKETS)) {
    if (pass.left <= 0) return
    try {
      if (dryRun) continue
      // Objects that were moved to other buckets keep their bytes, and so their folders.
      if (!(await backend.removeFolders(uid))) continue
      await noteFoldersRemoved(database, uid)
      pass.repaired('folders', { bucketUid: uid })
    } catch (error) {
      pass.failed(error, { bucketUid: uid })
    }
  }
}
