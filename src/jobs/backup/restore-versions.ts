import { Readable } from 'node:stream'
import type { Backend } from '../../backend/backend.ts'
import { setQuarantine } from '../../database/queries/objects-to-check.ts'
import { damagedVersions } from '../../database/queries/restored-objects.ts'
import { SortedLookup } from '../../lib/sorted-lookup.ts'
import { hasCode } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import { noteFailure } from '../failures.ts'
import { type BytesEntry, readBytesEntries } from './entries.ts'
import { readLines } from './lines.ts'
import { checkedBytes } from './placing.ts'
import type { RestoreParts, RestoreReport, RestoreRequest } from './restore-request.ts'
import { StoredBytes } from './stored-bytes.ts'

interface VersionRow {
  bucket_id: string
  name: string
  version: string
  kind: string
}

const PAGE = 200

/**
 * Gives what was there before, the trash among it, its bytes back where they were found lost or damaged: at the place that its row
 * says, which is written once. Rows that are gone do not come back so.
 *
 * @throws as `restoreObjects`
 */
export async function restoreVersions(
  parts: RestoreParts,
  request: RestoreRequest,
  report: RestoreReport,
): Promise<void> {
  const { target, database } = parts
  const { manifest, signal } = request
  const path = `${manifest.id}/rows/object_versions.ndjson`
  // One of before there were versions has none, and what goes elsewhere is objects alone.
  if (request.intoBucket !== null || (await target.exists(path)) === null) return
  const stored = new StoredBytes(target, manifest.id)
  const entries = new SortedLookup<BytesEntry>(
    () => readBytesEntries(target, manifest.id),
    ({ version }) => version,
  )
  const settle = async (page: string[]) => {
    const damaged = page.length === 0 ? [] : await damagedVersions(database, page)
    for (const one of damaged) {
      signal.throwIfAborted()
      const entry = await entries.find(one.location.version)
      if (entry) await putBack(parts, request, report, one, entry, stored)
      else noteFailure(report.failures, one, 'the backup has no bytes of it')
    }
  }
  try {
    let page: string[] = []
    for await (const line of readLines(await target.read(path), path)) {
      if (!isWanted(JSON.parse(line) as VersionRow, request) || page.push(line) < PAGE) continue
      await settle(page)
      page = []
    }
    await settle(page)
  } finally {
    await Promise.all([entries.close(), stored.close()])
  }
}

function isWanted({ bucket_id, name, kind }: VersionRow, { buckets, prefix }: RestoreRequest): boolean {
  return kind !== 'delete_marker' && name.startsWith(prefix) && (buckets?.includes(bucket_id) ?? true)
}

async function putBack(
  { database, backend, logger }: RestoreParts,
  { dryRun }: RestoreRequest,
  report: RestoreReport,
  damaged: Awaited<ReturnType<typeof damagedVersions>>[number],
  entry: BytesEntry,
  stored: StoredBytes,
): Promise<void> {
  const { location, bucketId: bucket, name: path } = damaged
  if (await isWhole(backend, location, entry)) {
    if (!dryRun) await setQuarantine(database, damaged, null)
    report.kept++
    return
  }
  if (!dryRun) {
    const given = await stored.open(entry)
    try {
      await backend.remove(location)
      const options = { maxBytes: entry.size, sha256: entry.sha256, isNamed: true }
      await backend.write(location, checkedBytes(given, entry), options)
    } finally {
      if (given instanceof Readable) given.destroy()
    }
    await setQuarantine(database, damaged, null)
    logger.info({ bucket, path, version: location.version }, 'a version has its bytes back')
  }
  report.replaced++
  report.bytes += entry.size
}

/** Whether they are back already, such as with a disk that was away: what is whole is not taken away for a moment. */
async function isWhole(backend: Backend, location: Location, entry: BytesEntry): Promise<boolean> {
  try {
    const bytes = await backend.read(location)
    for await (const _ of checkedBytes(bytes, entry)) {
      // It is compared as it is read.
    }
    return true
  } catch (error) {
    if (hasCode(error, 'MissingBytes') || hasCode(error, 'CorruptedBytes')) return false
    throw error
  }
}
