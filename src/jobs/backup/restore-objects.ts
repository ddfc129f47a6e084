import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { listUpload } from '../../database/queries/listed-versions.ts'
import {
  bucketUids,
  type CurrentObject,
  currentObjects,
  type RestoredObject,
  restoreBucket,
  restoreObject,
} from '../../database/queries/restored-objects.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { SortedLookup } from '../../lib/sorted-lookup.ts'
import { StorageError } from '../../model/errors.ts'
import { INLINE_BUCKET, type Location } from '../../model/location.ts'
import { removeBytes } from '../../storage/writing/byte-removal.ts'
import { abortUpload } from '../../storage/writing/commit.ts'
import { Heartbeats } from '../../storage/writing/heartbeats.ts'
import { noFailures, noteFailure } from '../failures.ts'
import { type BytesEntry, readBytesEntries } from './entries.ts'
import { readLines } from './lines.ts'
import { checkedBytes } from './placing.ts'
import type { RestoreParts, RestoreReport, RestoreRequest } from './restore-request.ts'
import { restoreVersions } from './restore-versions.ts'
import { StoredBytes } from './stored-bytes.ts'

interface ObjectRow {
  bucket_id: string
  name: string
  version: string | null
}

interface Wanted {
  line: string
  row: ObjectRow
  /** Where it goes. */
  bucketId: string
}

const PAGE = 200
const COPIES = 8
const HEARTBEAT_MS = 10_000

/**
 * Puts objects of a backup back into a store that is at work: a bucket, what is below a prefix, all that is missing. Each
 * is written like an upload, in a version of its own, and committed by a row with its id, owner and times.
 *
 * @throws StorageFull, BackendUnavailable, DatabaseUnavailable, TargetUnavailable, DamagedBackup, NoSuchBucket, the
 *   signal's reason
 */
export async function restoreObjects(parts: RestoreParts, request: RestoreRequest): Promise<RestoreReport> {
  const run = new ObjectRestore(parts, request)
  try {
    return await run.run()
  } finally {
    await run.close()
  }
}

/** What a backup gave of a version. */
type Given = Readable | Uint8Array

class ObjectRestore {
  readonly #report: RestoreReport = { created: 0, replaced: 0, kept: 0, bytes: 0, failures: noFailures() }
  readonly #stored: StoredBytes
  readonly #entries: SortedLookup<BytesEntry>
  readonly #heartbeats: Heartbeats
  #uids = new Map<string, string>()

  constructor(
    private readonly parts: RestoreParts,
    private readonly request: RestoreRequest,
  ) {
    const { target, database, logger } = parts
    const { id } = request.manifest
    this.#stored = new StoredBytes(target, id)
    this.#entries = new SortedLookup(
      () => readBytesEntries(target, id),
      ({ version }) => version,
    )
    this.#heartbeats = new Heartbeats({ database, logger, intervalMs: HEARTBEAT_MS })
  }

  async run(): Promise<RestoreReport> {
    const { signal, onProgress } = this.request
    await this.#restoreBuckets()
    let page: Wanted[] = []
    let done = 0
    for await (const line of this.#lines('objects')) {
      signal.throwIfAborted()
      done++
      const wanted = this.#wanted(line)
      if (!wanted || page.push(wanted) < PAGE) continue
      await this.#restore(page)
      page = []
      onProgress?.(done, this.#report)
    }
    await this.#restore(page)
    await restoreVersions(this.parts, this.request, this.#report)
    onProgress?.(done, this.#report)
    return this.#report
  }

  async close(): Promise<void> {
    await Promise.all([this.#entries.close(), this.#stored.close()])
  }

  async #restoreBuckets(): Promise<void> {
    const { database } = this.parts
    const { buckets, intoBucket, dryRun } = this.request
    const found: string[] = []
    for await (const line of this.#lines('buckets')) {
      const { id } = JSON.parse(line) as { id: string }
      if (buckets !== null && !buckets.includes(id)) continue
      found.push(intoBucket ?? id)
      if (!dryRun) await restoreBucket(database, line, intoBucket ?? id)
    }
    for (const id of buckets ?? []) {
      if (intoBucket === null && !found.includes(id)) throw new StorageError('NoSuchBucket')
    }
    this.#uids = await bucketUids(database, found)
  }

  #wanted(line: string): Wanted | null {
    const { buckets, prefix, intoBucket } = this.request
    const row = JSON.parse(line) as ObjectRow
    if (buckets !== null && !buckets.includes(row.bucket_id)) return null
    if (!row.name.startsWith(prefix)) return null
    return { line, row, bucketId: intoBucket ?? row.bucket_id }
  }

  async #restore(page: Wanted[]): Promise<void> {
    const current = await this.#current(page)
    // Looked up in their order, and then copied by turns.
    const chosen: { wanted: Wanted; entry: BytesEntry; isThere: boolean }[] = []
    for (const wanted of page) {
      const { row, bucketId } = wanted
      const now = current.get(bucketId)?.get(row.name)
      if (now && this.#isKept(now)) {
        this.#report.kept++
        continue
      }
      const isThere = now !== undefined
      const entry = row.version === null ? undefined : await this.#entries.find(row.version)
      if (entry) chosen.push({ wanted, entry, isThere })
      else noteFailure(this.#report.failures, { bucketId, name: row.name }, 'the backup has no bytes of it')
    }
    await forEachConcurrent(COPIES, chosen, ({ wanted, entry, isThere }) => this.#put(wanted, entry, isThere))
  }

  #isKept({ isSame, isDamaged }: CurrentObject): boolean {
    return isSame ? !isDamaged : this.request.mode === 'missing'
  }

  async #current(page: Wanted[]): Promise<Map<string, Map<string, CurrentObject>>> {
    const rows = new Map<string, string[]>()
    for (const { bucketId, line } of page) rows.set(bucketId, [...(rows.get(bucketId) ?? []), line])
    const found = new Map<string, Map<string, CurrentObject>>()
    for (const [bucketId, own] of rows) {
      found.set(bucketId, await currentObjects(this.parts.database, bucketId, own))
    }
    return found
  }

  async #put({ line: rowLine, row, bucketId }: Wanted, entry: BytesEntry, isThere: boolean): Promise<void> {
    const { database, backend, inlineSize } = this.parts
    const { mode, dryRun, signal } = this.request
    signal.throwIfAborted()
    if (!dryRun) {
      // Lines are asked for in their order: before anything else is waited for.
      const line = entry.inline ? await this.#stored.open(entry) : undefined
      const isInline = entry.size <= inlineSize
      const uid = this.#uids.get(bucketId)
      if (uid === undefined) throw new StorageError('NoSuchBucket')
      const at = { bucket: isInline ? INLINE_BUCKET : uid, version: randomUUID() }
      const replaces: RestoredObject['replaces'] = mode === 'replace' ? 'any' : isThere ? 'damaged' : 'none'
      const object = {
        row: rowLine,
        bucketId,
        name: row.name,
        at,
        checksum: entry.sha256,
        replaces,
      }
      const removals = isInline
        ? await restoreObject(database, { ...object, bytes: await this.#read(entry, line) })
        : await this.#write(object, entry, line)
      if (removals === null) {
        this.#report.kept++ // somebody was faster
        return
      }
      await removeBytes({ ...this.parts, backend }, removals)
    }
    this.#report[isThere ? 'replaced' : 'created']++
    this.#report.bytes += entry.size
  }

  async #write(
    object: Omit<RestoredObject, 'bytes'>,
    entry: BytesEntry,
    line: Given | undefined,
  ): Promise<Location[] | null> {
    const { database, backend } = this.parts
    const { at } = object
    await listUpload(database, at, object)
    try {
      return await this.#heartbeats.during(at.version, async () => {
        const given = line ?? (await this.#stored.open(entry))
        try {
          const options = { maxBytes: entry.size, sha256: entry.sha256 }
          await backend.write(at, checkedBytes(given, entry), options)
        } finally {
          if (given instanceof Readable) given.destroy()
        }
        const removals = await restoreObject(database, { ...object, bytes: null })
        if (removals === null) await abortUpload(this.parts, at, null, { wasListed: true })
        return removals
      })
    } catch (error) {
      await abortUpload(this.parts, at, error, { wasListed: true })
      throw error
    }
  }

  async #read(entry: BytesEntry, line: Given | undefined): Promise<Uint8Array> {
    const bytes = checkedBytes(line ?? (await this.#stored.open(entry)), entry)
    return bytes instanceof Readable ? buffer(bytes) : bytes
  }

  async *#lines(table: string): AsyncGenerator<string> {
    const { target } = this.parts
    const path = `${this.request.manifest.id}/rows/${table}.ndjson`
    yield* readLines(await target.read(path), path)
  }
}
