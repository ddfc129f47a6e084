import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { addAbortSignal, type Readable } from 'node:stream'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import type { VersionRow } from '../../database/dump/snapshot.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { type ExpectedBytes, expectedBytes } from '../../storage/reading/expected-bytes.ts'
import { verifiedStream } from '../../storage/reading/verified-stream.ts'
import { type BytesEntry, bytesPath } from './entries.ts'
import type { BackupTarget, WrittenFile } from './target.ts'

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

/** Brings the bytes of single versions into a backup, each hash once, and none that are not what their row says. */
export class VersionBytes {
  constructor(private readonly parts: VersionBytesParts) {}

  /** @throws StorageFull, TargetUnavailable, BackendUnavailable, the signal's reason */
  async copy(row: VersionRow): Promise<Copied> {
    const { signal } = this.parts
    signal.throwIfAborted()
    try {
      return await this.#copy(row)
    } catch (error) {
      if (hasCode(error, 'MissingBytes')) return { why: 'missing' }
      if (hasCode(error, 'CorruptedBytes')) return { why: 'damaged' }
      throw error
    }
  }

  async #copy({ version, bucket, checksum, size }: VersionRow): Promise<Copied> {
    const { database, target, id } = this.parts
    const at = { version, bucket }
    const expected = await expectedBytes(database, { checksum, version })
    // What came in parts has no hash of the whole: it is read once more for that.
    const known = checksum ?? (await hashOf(await this.#read(at, size, expected))).sha256
    const path = `${id}/${bytesPath(known)}`
    const entry = (bytes: number): BytesEntry => ({ version, bucket, size: bytes, sha256: known })
    const held = await this.#held(at, size)
    // Another version with the same bytes was there before. This one's are still read by the scrub.
    if ((await target.exists(path)) !== null) return { entry: entry(held), isNew: false }
    if (await this.#link(at, path, known)) return { entry: entry(held), isNew: true }
    const written = await target.write(path, await this.#read(at, size, known))
    return { entry: entry(written.size), isNew: true }
  }

  /** How many bytes there are. @throws MissingBytes */
  async #held(at: { version: string; bucket: string }, size: number | null): Promise<number> {
    const held = await this.parts.backend.size(at)
    if (held === null || (size !== null && held !== size)) throw new StorageError('MissingBytes')
    return held
  }

  /** Gives the file a second name in the target, where both are on one file system. Its content is compared first. */
  async #link(at: { version: string; bucket: string }, path: string, sha256: string): Promise<boolean> {
    const { backend, target, signal } = this.parts
    if (!target.link) return false
    const source = await backend.file(at)
    if (source === null) return false
    const found = await hashOf(addAbortSignal(signal, createReadStream(source)))
    if (found.sha256 !== sha256) throw new StorageError('CorruptedBytes')
    return target.link(path, source)
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

async function hashOf(body: Readable): Promise<WrittenFile> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    hash.update(chunk)
    size += chunk.length
  }
  return { size, sha256: hash.digest('hex') }
}
