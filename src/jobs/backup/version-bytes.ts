import { createHash } from 'node:crypto'
import { addAbortSignal, type Readable } from 'node:stream'
import type { Backend, FileOnDisk } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import type { VersionRow } from '../../database/dump/snapshot.ts'
import { findPartsOf, type VersionPart } from '../../database/queries/version-parts.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { ExpectedBytes } from '../../storage/reading/expected-bytes.ts'
import { verifiedStream } from '../../storage/reading/verified-stream.ts'
import { type BytesEntry, bytesPath } from './entries.ts'
import { hashFile } from './file-hash.ts'
import type { BackupTarget } from './target.ts'

export interface VersionBytesParts {
  database: Database
  /** Where bytes are that are not in the database. */
  backend: Backend
  target: BackupTarget
  /** Of the backup. */
  id: string
  signal: AbortSignal
}

/** What has become of a version's bytes. */
export type Copied = { entry: BytesEntry; isNew: boolean } | { why: 'missing' | 'damaged' }

/** How many are copied at once. */
const COPIES = 4

/** To ask whether the target has a file's hash costs more than to read one that is no longer, in bytes. */
const SMALL = 64 * 1024

/** Brings the bytes of versions into a backup, each hash once, and none that are not what their row says. */
export class VersionBytes {
  constructor(private readonly parts: VersionBytesParts) {}

  /**
   * Some of them at once.
   *
   * @returns what has become of each, in their order
   * @throws StorageFull, TargetUnavailable, BackendUnavailable, DatabaseUnavailable, the signal's reason
   */
  async copyAll(rows: VersionRow[]): Promise<Copied[]> {
    const withoutHash = rows.flatMap(({ checksum, version }) => (checksum === null ? [version] : []))
    const found = withoutHash.length > 0 ? await findPartsOf(this.parts.database, withoutHash) : []
    const partsOf = new Map(found.map(({ version, parts }) => [version, parts]))
    const copied = new Array<Copied>(rows.length)
    await forEachConcurrent(COPIES, rows.entries(), async ([place, row]) => {
      this.parts.signal.throwIfAborted()
      copied[place] = await this.#copyOne(row, partsOf.get(row.version) ?? null)
    })
    return copied
  }

  async #copyOne(row: VersionRow, parts: VersionPart[] | null): Promise<Copied> {
    try {
      return await this.#copy(row, parts)
    } catch (error) {
      if (hasCode(error, 'MissingBytes')) return { why: 'missing' }
      if (hasCode(error, 'CorruptedBytes')) return { why: 'damaged' }
      throw error
    }
  }

  async #copy({ version, bucket, checksum, size }: VersionRow, parts: VersionPart[] | null): Promise<Copied> {
    const { backend, target, id } = this.parts
    const at = { version, bucket }
    const file = target.link ? await backend.file(at) : null
    const held = file ? file.size : await backend.size(at)
    if (held === null || (size !== null && held !== size)) throw new StorageError('MissingBytes')
    // What came in parts has no hash of the whole: it is read once more for that, unless it is linked.
    const known = checksum ?? (await (file ? this.#hashFile(file, parts) : this.#hash(at, size, parts)))
    const path = `${id}/${bytesPath(known)}`
    const entry: BytesEntry = { version, bucket, size: held, sha256: known }
    // Another version with the same bytes was there before. This one's are still read by the scrub.
    const isAsked = file === null || file.size > SMALL
    if (isAsked && (await target.exists(path)) !== null) return { entry, isNew: false }
    if (file && target.link) {
      if (checksum !== null && (await this.#hashFile(file, null)) !== checksum) {
        throw new StorageError('CorruptedBytes')
      }
      const linked = await target.link(path, file.path)
      if (linked !== null) return { entry, isNew: linked === 'made' }
    }
    const written = await target.write(path, await this.#read(at, size, known))
    return { entry: { ...entry, size: written.size }, isNew: true }
  }

  /** @throws CorruptedBytes when the parts are others */
  #hashFile({ path, size }: FileOnDisk, parts: VersionPart[] | null): Promise<string> {
    return hashFile(path, { size, parts, signal: this.parts.signal })
  }

  /** @throws MissingBytes, CorruptedBytes */
  async #hash(
    at: { version: string; bucket: string },
    size: number | null,
    parts: VersionPart[] | null,
  ): Promise<string> {
    const hash = createHash('sha256')
    for await (const chunk of await this.#read(at, size, parts)) hash.update(chunk as Buffer)
    return hash.digest('hex')
  }

  /** @param expected null when nothing is known of them */
  async #read(
    at: { version: string; bucket: string },
    size: number | null,
    expected: ExpectedBytes | null,
  ): Promise<Readable> {
    const { backend, signal } = this.parts
    const bytes = await backend.read(at, size === null ? {} : { size })
    const corrupted = () => new StorageError('CorruptedBytes')
    const body = expected === null ? bytes : verifiedStream(bytes, expected, corrupted)
    body.on('error', () => {}) // it may break before its reader listens, who then finds it broken
    return addAbortSignal(signal, body)
  }
}
