import { databaseNow } from '../../database/queries/drift.ts'
import {
  deleteMissing,
  longMissing,
  type ObjectToCheck,
  objectsAfter,
  setQuarantine,
} from '../../database/queries/objects-to-check.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { removeBytes } from '../../storage/writing/byte-removal.ts'
import type { CleanupPass } from './pass.ts'

/** How many rows are read at once. */
const PAGE = 500

/** How many files are looked for at once. */
const CONCURRENCY = 8

interface BucketCount {
  objects: number
  missing: number
}

/**
 * Marks objects whose bytes are gone, and deletes those that an earlier pass has marked. Not in a bucket that has
 * lost more than the share allowed: that is a wrong disk, not drift, and its rows must survive it.
 */
export async function repairMissingBytes(pass: CleanupPass): Promise<void> {
  const { database, maxShare } = pass.options
  if (pass.left <= 0) return
  const startedAt = await databaseNow(database)
  const counts = await markMissing(pass)
  for (const [bucket, { objects, missing }] of counts) {
    if (missing === 0) continue
    if (missing > objects * maxShare) {
      pass.hold(
        bucket,
        `${missing} of ${objects} objects have no bytes, more than the share of ${maxShare}; is the right disk ` +
          'mounted, or the right bucket and prefix set, and a move finished? Only if the bytes are lost for good, run ' +
          'the cleanup with a larger STORAGE_CLEANUP_MAX_SHARE',
      )
    } else {
      await deleteLongMissing(pass, bucket, startedAt)
    }
  }
}

/** Looks for the bytes of every row. Marks are limited by the batch, the counting is not: the share needs it. */
async function markMissing(pass: CleanupPass): Promise<Map<string, BucketCount>> {
  const { database, scope } = pass.options
  const counts = new Map<string, BucketCount>()
  let last: string | null = null
  for (let done = 0; ; ) {
    const page: ObjectToCheck[] = await objectsAfter(database, scope, last, PAGE)
    await forEachConcurrent(CONCURRENCY, page, async (object) => {
      const count = counts.get(object.bucketId) ?? { objects: 0, missing: 0 }
      counts.set(object.bucketId, count)
      count.objects++
      if (await isMissing(pass, object)) count.missing++
    })
    last = page.at(-1)?.place ?? null
    if (last === null) return counts
    done += page.length
    await pass.between('rows', done)
  }
}

/** Whether the object has no bytes. Marks it then, and takes a mark away that is not true any more. */
async function isMissing(pass: CleanupPass, object: ObjectToCheck): Promise<boolean> {
  const { database, backend, dryRun } = pass.options
  const { location, quarantineReason } = object
  const isThere = object.hasInlineBytes ?? (await backend.exists(location))
  if (isThere === (quarantineReason !== 'missing')) return !isThere
  if (isThere) {
    if (pass.left > 0 && (dryRun || (await setQuarantine(database, object, null)))) {
      pass.repaired('released', about(object))
    }
    return false
  }
  if (quarantineReason === 'corrupted') return true
  if (pass.left <= 0) return true
  // Replaced or deleted since the row was read: then nothing is missing.
  const isMarked = dryRun || (await setQuarantine(database, object, 'missing'))
  if (isMarked) pass.repaired('missing', about(object))
  return isMarked
}

async function deleteLongMissing(pass: CleanupPass, bucket: string, markedBefore: string): Promise<void> {
  const { database, backend, graceMs, dryRun } = pass.options
  for (let done = 0; pass.left > 0; ) {
    const page = await longMissing(database, bucket, { markedBefore, graceMs }, Math.min(PAGE, pass.left))
    let deleted = 0
    for (const object of page) {
      if (await backend.exists(object.location)) continue // it came back this instant; the next pass releases it
      const removals = dryRun ? [] : await deleteMissing(database, object)
      if (removals === null) continue
      pass.repaired('deleted', about(object))
      deleted++
      // There is nothing to remove; this takes the version off the list, where the deletion has put it.
      await removeBytes(pass.options, removals)
    }
    if (page.length < PAGE || deleted === 0 || dryRun) return
    done += page.length
    await pass.between('rows without bytes', done)
  }
}

function about({ bucketId, name, location }: ObjectToCheck) {
  return { bucket: bucketId, path: name, version: location.version }
}
