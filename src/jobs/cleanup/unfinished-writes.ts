import type { Unfinished } from '../../backend/backend.ts'
import { beingWritten, bucketUid, knownBuckets, unnamedVersions } from '../../database/queries/drift.ts'
import type { CleanupPass } from './pass.ts'

/** How many are asked about at once. */
const PAGE = 1000

/** A move to another backend writes versions that rows name already, though no parts; none of its writes takes this long. */
const LONGEST_MOVE_MS = 86_400_000

/**
 * Abandons writes that dead processes have begun, such as multipart uploads, which cost space without being seen.
 *
 * Their age says little: a large upload takes hours. A version is on `storage.uploads` before its first byte is
 * written, and leaves it after the last one, so what is not on it is not being uploaded.
 */
export async function abandonUnfinishedWrites(pass: CleanupPass): Promise<void> {
  const { database, backend, graceMs, scope } = pass.options
  if (pass.left <= 0) return
  const only = scope === undefined ? undefined : await bucketUid(database, scope)
  const newest = Date.now() - graceMs
  let page: Unfinished[] = []
  let done = 0
  const look = async () => {
    for (const write of await leftBehind(pass, page)) {
      if (pass.left <= 0) return
      await abandon(pass, write)
    }
    done += page.length
    page = []
    await pass.between('unfinished writes', done)
  }
  for await (const write of backend.unfinished()) {
    if (only !== undefined && write.location.bucket !== only) continue
    if (write.startedAt.getTime() <= newest) page.push(write)
    if (page.length >= PAGE) await look()
    if (pass.left <= 0) return
  }
  await look()
}

async function leftBehind({ options: { database } }: CleanupPass, page: Unfinished[]): Promise<Unfinished[]> {
  if (page.length === 0) return []
  const versions = page.map((write) => write.location.version)
  const uploading = await beingWritten(database, versions)
  const unnamed = await unnamedVersions(database, versions)
  // Those of a bucket that this database never had may be another server's.
  const known = await knownBuckets(database, [...new Set(page.map((write) => write.location.bucket))])
  const tooOld = Date.now() - LONGEST_MOVE_MS
  return page.filter(({ location: { bucket, version }, isPart, startedAt }) => {
    if (uploading.has(version) || !known.has(bucket)) return false
    return unnamed.has(version) || isPart || startedAt.getTime() < tooOld
  })
}

async function abandon(pass: CleanupPass, write: Unfinished): Promise<void> {
  const { bucket, version } = write.location
  try {
    if (!pass.options.dryRun) await pass.options.backend.abandon(write)
    pass.repaired('unfinished', { bucketUid: bucket, version, startedAt: write.startedAt })
  } catch (error) {
    pass.failed(error, { bucketUid: bucket, version })
  }
}
