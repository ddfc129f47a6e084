import { setTimeout as delay } from 'node:timers/promises'
import type { Stored } from '../../backend/backend.ts'
import {
  beginSweep,
  bucketUid,
  isPast,
  knownBuckets,
  transactionHorizon,
  unnamed,
} from '../../database/queries/drift.ts'
import { INLINE_BUCKET, type Location } from '../../model/location.ts'
import type { CleanupPass } from './pass.ts'

/** How many files are asked about at once. */
const PAGE = 1000

/** A share of a few files says little: so many may go from any bucket. */
const NEVER_TOO_MANY = 100

/** How long the sweep waits for transactions that began before it ended. In milliseconds. */
const HORIZON_LIMIT_MS = 15_000

interface BucketCount {
  files: number
  unnamed: number
}

/**
 * Sweeps the backend for bytes that no row, no upload and no removal names: those of small uploads whose server
 * died before the commit, and files that a power failure brought back; in the database those that a restore has left. In
 * memory are one page and what will be removed, which is one pass' batch at most.
 */
export async function removeUnnamedBytes(pass: CleanupPass): Promise<void> {
  const { database, backend, scope } = pass.options
  if (pass.left <= 0) return
  const only = scope === undefined ? undefined : await bucketUid(database, scope)
  if (only === null) return

  // 1. List everything, and keep what nothing names.
  const counts = new Map<string, BucketCount>()
  const suspects: Location[] = []
  let page: Stored[] = []
  let done = 0
  const look = async () => {
    await judge(pass, page, counts, suspects)
    done += page.length
    page = []
    await pass.between('files', done)
  }
  for await (const stored of backend.list(only)) {
    page.push(stored)
    if (page.length >= PAGE) await look()
  }
  await look()
  pass.report.unnamed = [...counts.values()].reduce((sum, { unnamed }) => sum + unnamed, 0)

  // 2. Leave alone what looks like a mistake rather than like drift.
  const removable = await withoutRunaways(pass, suspects, counts)

  // 3. Remove the rest, if nothing names it still.
  for (const at of await stillUnnamed(pass, removable)) {
    if (pass.left <= 0) return
    pass.options.signal.throwIfAborted()
    try {
      if (!pass.options.dryRun) await backend.remove(at)
      pass.repaired('unnamedBytes', { bucketUid: at.bucket, version: at.version })
    } catch (error) {
      pass.failed(error, { bucketUid: at.bucket, version: at.version })
    }
  }
}

async function judge(
  pass: CleanupPass,
  page: Stored[],
  counts: Map<string, BucketCount>,
  suspects: Location[],
): Promise<void> {
  const { database, graceMs, batch } = pass.options
  const newest = Date.now() - graceMs
  const old = page.filter((stored) => stored.modifiedAt.getTime() <= newest)
  const locations = old.map((stored) => stored.location)
  const countOf = ({ bucket }: Location) => {
    const count = counts.get(bucket) ?? { files: 0, unnamed: 0 }
    counts.set(bucket, count)
    return count
  }
  for (const { location } of page) countOf(location).files++
  for (const location of await unnamed(database, locations)) {
    countOf(location).unnamed++
    if (suspects.length < batch) suspects.push(location)
  }
}

/** Another database, or an older copy of it, knows none of the files, or few of them. */
async function withoutRunaways(
  pass: CleanupPass,
  suspects: Location[],
  counts: Map<string, BucketCount>,
): Promise<Location[]> {
  const { database, maxShare } = pass.options
  const suspected = [...new Set(suspects.map((at) => at.bucket))]
  const known = (await knownBuckets(database, suspected)).add(INLINE_BUCKET)
  const allowed = new Set<string>()
  for (const bucket of suspected) {
    const { files, unnamed } = counts.get(bucket) ?? { files: 0, unnamed: 0 }
    if (!known.has(bucket)) {
      pass.hold(
        bucket,
        `${unnamed} files belong to a bucket that this database never had; is it the right database?`,
      )
    } else if (unnamed > NEVER_TOO_MANY && unnamed > files * maxShare) {
      pass.hold(
        bucket,
        `${unnamed} of ${files} files are named by nothing, more than the share of ${maxShare}; is it the right ` +
          'database? If so, run the cleanup with a larger STORAGE_CLEANUP_MAX_SHARE',
      )
    } else {
      allowed.add(bucket)
    }
  }
  return suspects.filter((at) => allowed.has(at.bucket))
}

/**
 * The writer of a small body makes its row before its file, in one transaction that nobody sees until it has
 * committed. Each that could have made one of these files has begun before now; once they have ended, what is not
 * named will never be. Or he makes the file first, and his row does not come about if a sweep has begun since: after
 * `beginSweep`, only the rows that were made before it can still appear (decision 0055).
 */
async function stillUnnamed(pass: CleanupPass, suspects: Location[]): Promise<Location[]> {
  if (suspects.length === 0) return []
  const { database, signal, logger } = pass.options
  await beginSweep(database)
  const horizon = await transactionHorizon(database)
  const giveUpAt = Date.now() + HORIZON_LIMIT_MS
  while (!(await isPast(database, horizon))) {
    if (Date.now() > giveUpAt) {
      logger.warn(
        { files: suspects.length },
        'a long transaction keeps the cleanup from removing bytes; next time',
      )
      return []
    }
    await delay(100, undefined, { signal })
  }
  return unnamed(database, suspects)
}
