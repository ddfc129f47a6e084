import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type {
  Backend,
  ReadOptions,
  Stored,
  Unfinished,
  WriteOptions,
  Written,
} from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { sqlState } from '../../database/connection/postgres-error.ts'
import {
  copyInlineBytes,
  inlineSize,
  listInlineBytes,
  readInlineBytes,
  removeInlineBytes,
  writeInlineBytes,
} from '../../database/queries/inline-bytes.ts'
import { readBounded } from '../../lib/streams.ts'
import { UUID } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import { type ByteRange, INLINE_BUCKET, type Location } from '../../model/location.ts'

/** How many versions are listed at once. */
const PAGE = 1000

/**
 * Small bytes in the database (decision 0052), as a backend: by version, since all of them are in one place. What is
 * written is held in memory. Whoever makes an object writes its bytes with its row (`putObject`), and not by this.
 */
export class DatabaseBackend implements Backend {
  readonly isLocal = false
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    const { maxBytes, sha256 } = options
    if (!UUID.test(at.version)) throw new Error(`Not a version: ${at.version}`)
    const tooLarge = () => new StorageError('EntityTooLarge')
    const isWhole = body instanceof Uint8Array
    if (isWhole && body.length > maxBytes) throw tooLarge()
    const bytes = isWhole ? body : await readBounded(body, maxBytes, tooLarge)
    await writeInlineBytes(this.#database, at.version, bytes)
    const known = isWhole ? sha256 : undefined
    return { size: bytes.length, sha256: known ?? createHash('sha256').update(bytes).digest('hex') }
  }

  async read({ version }: Location, { range, size }: ReadOptions = {}): Promise<Readable> {
    const found = await this.#find(version, range)
    if (!found || (size !== undefined && found.size !== size)) throw new StorageError('MissingBytes')
    return Readable.from(found.bytes.length === 0 ? [] : [found.bytes], { objectMode: false })
  }

  async readWhole({ version }: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    const found = await this.#find(version)
    if (found?.size !== size) throw new StorageError('MissingBytes')
    return found.bytes
  }

  async directUrl(): Promise<null> {
    return null
  }

  async file(): Promise<null> {
    return null
  }

  async copy(from: Location, to: Location): Promise<void> {
    await copyInlineBytes(this.#database, from.version, to.version)
  }

  async remove({ version }: Location): Promise<void> {
    await removeInlineBytes(this.#database, version)
  }

  size({ version }: Location): Promise<number | null> {
    return inlineSize(this.#database, version)
  }

  async exists(at: Location): Promise<boolean> {
    return (await this.size(at)) !== null
  }

  async *list(): AsyncGenerator<Stored> {
    let page: Awaited<ReturnType<typeof listInlineBytes>>
    let last: string | null = null
    do {
      page = await listInlineBytes(this.#database, last, PAGE)
      for (const { version, size, createdAt } of page) {
        yield { location: { bucket: INLINE_BUCKET, version }, size, modifiedAt: createdAt }
      }
      last = page.at(-1)?.version ?? null
    } while (page.length === PAGE)
  }

  async *unfinished(): AsyncGenerator<Unfinished> {}

  async abandon(): Promise<void> {}

  async removeFolders(): Promise<boolean> {
    return (await listInlineBytes(this.#database, null, 1)).length === 0
  }

  async check(): Promise<void> {}

  async close(): Promise<void> {}

  /** @throws CorruptedBytes when PostgreSQL says so itself: whatever else it says is not about the bytes */
  async #find(version: string, range?: ByteRange): ReturnType<typeof readInlineBytes> {
    try {
      return await readInlineBytes(this.#database, version, range)
    } catch (error) {
      throw sqlState(error) === DATA_CORRUPTED ? new StorageError('CorruptedBytes', { cause: error }) : error
    }
  }
}

/** SQLSTATE of a page or a piece of a value that PostgreSQL cannot read (its appendix A). */
const DATA_CORRUPTED = 'XX001'
