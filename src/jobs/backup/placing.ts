import { Readable } from 'node:stream'
import type { Backend } from '../../backend/backend.ts'
import type { VersionRow } from '../../database/dump/snapshot.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { compareWith } from '../../storage/reading/expected-bytes.ts'
import { verifiedStream } from '../../storage/reading/verified-stream.ts'
import { type Failures, noFailures, noteFailure } from '../failures.ts'
import { BackupError } from './backup-error.ts'
import { type BytesEntry, mergeByVersion } from './entries.ts'
import { objectPath } from './object-path.ts'
import type { StoredBytes } from './stored-bytes.ts'

export interface PlacingOptions {
  /** What the rows of the restored database name, sorted by version. */
  versions: AsyncIterable<VersionRow>
  /** Where the bytes go, to the locations that the rows say. */
  backend: Backend
  /** What the backup has, sorted by version. */
  entries: AsyncIterable<BytesEntry>
  stored: StoredBytes
  /** Whether the database has the bytes that are its own already. */
  hasInlineBytes: boolean
  signal: AbortSignal
  /** @param done versions */
  onProgress?: (done: number) => void
}

export interface Placed {
  /** Versions whose bytes are in their place now. */
  versions: number
  bytes: number
  /** Objects whose bytes the backup has not. */
  failures: Failures
}

const PAGE = 1000
const COPIES = 8

/**
 * Gives the rows of a restored database their bytes. What is in its place already, from a run that was interrupted, is left
 * alone: a version is there whole or not at all.
 *
 * @throws StorageFull, BackendUnavailable, DatabaseUnavailable, TargetUnavailable, DamagedBackup, the signal's reason
 */
export async function placeBytes(options: PlacingOptions): Promise<Placed> {
  const { signal, onProgress } = options
  const placed: Placed = { versions: 0, bytes: 0, failures: noFailures() }
  let page: { row: VersionRow; entry: BytesEntry | undefined }[] = []
  const settle = async () => {
    await forEachConcurrent(COPIES, page, ({ row, entry }) => place(options, row, entry, placed))
    page = []
    onProgress?.(placed.versions)
  }
  for await (const { a: row, b: entry } of mergeByVersion(options.versions, options.entries)) {
    signal.throwIfAborted()
    if (!row || (options.hasInlineBytes && row.isInline)) continue
    if (page.push({ row, entry }) === PAGE) await settle()
  }
  await settle()
  return placed
}

async function place(
  { backend, stored, signal }: PlacingOptions,
  row: VersionRow,
  entry: BytesEntry | undefined,
  placed: Placed,
): Promise<void> {
  signal.throwIfAborted()
  const { version, bucket, object } = row
  if (!entry) {
    if (object !== null) noteFailure(placed.failures, objectPath(object), 'the backup has no bytes of it')
    return
  }
  // Lines are asked for in their order: before anything else is waited for.
  const line = entry.inline ? await stored.open(entry) : undefined
  const location = { version, bucket }
  const there = await backend.size(location)
  if (there !== entry.size) {
    if (there !== null) await backend.remove(location)
    const given = line ?? (await stored.open(entry))
    try {
      await backend.write(location, checkedBytes(given, entry), {
        maxBytes: entry.size,
        sha256: entry.sha256,
        isNamed: true,
      })
    } catch (error) {
      if (!hasCode(error, 'CorruptedBytes')) throw error
      throw new BackupError(
        'DamagedBackup',
        `The backup's bytes of version ${version} are damaged: verify it`,
        {
          cause: error,
        },
      )
    } finally {
      if (given instanceof Readable) given.destroy()
    }
  }
  placed.versions++
  placed.bytes += entry.size
}

/** What a backup gave, compared with its hash. @throws CorruptedBytes, by the stream if it is one */
export function checkedBytes(given: Readable | Uint8Array, { sha256 }: BytesEntry): Readable | Uint8Array {
  const corrupted = () => new StorageError('CorruptedBytes')
  if (given instanceof Readable) {
    const body = verifiedStream(given, sha256, corrupted)
    body.on('error', () => {}) // it may break before it is read
    return body
  }
  const comparison = compareWith(sha256)
  comparison.update(given)
  if (!comparison.holds()) throw corrupted()
  return given
}
