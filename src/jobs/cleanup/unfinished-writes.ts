import type { Unfinished } from '../../backend/backend.ts'
import { beingWritten, bucketUid, knownBuckets, unnamed } from '../../database/queries/drift.ts'
import type { CleanupPass } from './pass.ts'

/** How many are asked about at once. */
const PAGE = 1000

/** A move to another backend writes versions that rows name already, though no parts; none of its writes takes this long. */
const LONGEST_MOVE_MS = 86_400_000

/**
 * A check that is younger than so many times the grace may be running: nothing else tells of it, and the clocks of store
 * and servers differ. Usually that is 20 minutes; a store refuses requests of clocks that are 15 minutes away.
 */
const CHECK_GRACES = 4

/**
 * Abandons writes that dead processes have begun, such as multipart uploads, which cost space without being seen.
 *
 * Their age says little: a large upload takes hours. A version is on `storage.uploads` before its first byte is
 * written, and leaves it after the last one, so what is not on it is not being uploaded. Only a check is on no list.
 */
export async function abandonUnfinishedWrites(pass: CleanupPass): Promise<void> {
  const { database, backend, graceMs, scope } = pass.options
  if (pass.left <= 0) return
  const only = scope === undefined ? undefined : await bucketUid(database, scope)
  const isYoung = ({ location, startedAt }: Unfinished) =>
    Date.now() - startedAt.getTime() < graceMs * (location === null ? CHECK_GRACES : 1)
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
    if (only !== undefined && write.location?.bucket !== only) continue
    if (!isYoung(write)) page.push(write)
    if (page.length >= PAGE) await look()
    if (pass.left <= 0) return
  }
  await look()
}

async function leftBehind({ options: { database } }: CleanupPass, page: Unfinished[]): Promise<Unfinished[]> {
  if (page.length === 0) return []
  const locations = page.flatMap(({ location }) => location ?? [])
  const versions = locations.map(({ version }) => version)
  const uploading = await beingWritten(database, versions)
  const unnamedPlaces = new Set(await unnamed(database, locations))
  // Those of a bucket that this database never had may be another server's.
  const known = await knownBuckets(database, [...new Set(locations.map(({ bucket }) => bucket))])
  const tooOld = Date.now() - LONGEST_MOVE_MS
  return page.filter((write) => {
    const { location } = write
    if (location === null) return true
    if (uploading.has(location.version) || !known.has(location.bucket)) return false
    return unnamedPlaces.has(location) || write.isPart || write.startedAt.getTime() < tooOld
  })
}

async function abandon(pass: CleanupPass, write: Unfinished): Promise<void> {
  const { location, id, startedAt } = write
  const about = location === null ? { check: id } : { bucketUid: location.bucket, version: location.version }
  try {
    if (!pass.options.dryRun) await pass.options.backend.abandon(write)
    pass.repaired('unfinished', { ...about, startedAt })
  } catch (error) {
    pass.failed(error, about)
  }
}
