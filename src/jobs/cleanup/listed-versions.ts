import { type DueRemoval, dueRemovals, expireUploads, staleUploads } from '../../database/queries/drift.ts'
import { forgetRemovals } from '../../database/queries/listed-versions.ts'
import { removeBytes } from '../../storage/writing/byte-removal.ts'
import type { CleanupPass } from './pass.ts'

/** How many entries of a list are handled at once. */
const PAGE = 200

/** Lets the uploads expire whose server has fallen silent, and removes what there is of their bytes. */
export async function expireStaleUploads(pass: CleanupPass): Promise<void> {
  const { database, graceMs, scope, dryRun } = pass.options
  for (let done = 0; pass.left > 0; ) {
    const stale = await staleUploads(database, graceMs, scope, Math.min(pass.left, PAGE))
    const versions = stale.map((upload) => upload.version)
    // Moved to the list of removals before any byte goes: from then on nobody can commit them.
    const expired = dryRun ? new Set(versions) : await expireUploads(database, graceMs, versions)
    const ours = stale.filter((upload) => expired.has(upload.version))
    for (const { version, bucketId, name } of ours) {
      pass.repaired('staleUpload', { bucket: bucketId, path: name, version })
    }
    if (!dryRun) await removeBytes(pass.options, ours)
    done += stale.length
    // Those that are locked or alive again would be found again.
    if (stale.length < PAGE || dryRun || ours.length === 0) return
    await pass.between('stale uploads', done)
  }
}

/** Removes the bytes of versions that a committed transaction has made superfluous, and that are still there. */
export async function finishRemovals(pass: CleanupPass): Promise<void> {
  const { database, graceMs, scope, dryRun } = pass.options
  let last: DueRemoval | undefined
  for (let done = 0; pass.left > 0; ) {
    const page: DueRemoval[] = await dueRemovals(database, graceMs, scope, last, Math.min(pass.left, PAGE))
    const named = page.filter((removal) => removal.isNamed)
    const unnamed = page.filter((removal) => !removal.isNamed)
    const removed = dryRun ? unnamed : await removeBytes(pass.options, unnamed)
    for (const { bucket, version } of removed) pass.repaired('removal', { bucketUid: bucket, version })
    pass.report.failures += unnamed.length - removed.length
    if (named.length > 0 && !dryRun) {
      await forgetRemovals(
        database,
        named.map((removal) => removal.version),
      )
    }
    done += page.length
    last = page.at(-1)
    if (page.length === 0 || last === undefined) return
    await pass.between('removals', done)
  }
}
