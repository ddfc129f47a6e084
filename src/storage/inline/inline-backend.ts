import type { Readable } from 'node:stream'
import type {
  Backend,
  FileOnDisk,
  ReadOptions,
  ResponseHeaders,
  Stored,
  Unfinished,
  WriteOptions,
  Written,
} from '../../backend/backend.ts'
import type {
  Appended,
  AppendOptions,
  Part,
  PartOptions,
  Progress,
  ResumableBackend,
} from '../../backend/resumable-backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { StorageError } from '../../model/errors.ts'
import { isInline, type Location } from '../../model/location.ts'
import { DatabaseBackend } from './database-backend.ts'

/**
 * The backend, and the small bytes that are in the database, as one: a location says by itself where its bytes are. What
 * comes in chunks or in parts is the backend's.
 */
export class InlineBackend implements ResumableBackend {
  readonly isLocal: boolean
  readonly #outside: ResumableBackend
  readonly #inside: Backend

  constructor(outside: ResumableBackend, database: Database) {
    this.#outside = outside
    this.#inside = new DatabaseBackend(database)
    this.isLocal = outside.isLocal
  }

  write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    return this.#holderOf(at).write(at, body, options)
  }

  read(at: Location, options?: ReadOptions): Promise<Readable> {
    return this.#holderOf(at).read(at, options)
  }

  readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#holderOf(at).readWhole(at, size)
  }

  directUrl(at: Location, size: number, headers: ResponseHeaders): Promise<URL | null> {
    return this.#holderOf(at).directUrl(at, size, headers)
  }

  file(at: Location): Promise<FileOnDisk | null> {
    return this.#holderOf(at).file(at)
  }

  async copy(from: Location, to: Location): Promise<void> {
    const [source, target] = [this.#holderOf(from), this.#holderOf(to)]
    if (source === target) return source.copy(from, to)
    const size = await source.size(from)
    if (size === null) throw new StorageError('MissingBytes')
    await target.write(to, await source.readWhole(from, size), { maxBytes: size })
  }

  remove(at: Location): Promise<void> {
    return this.#holderOf(at).remove(at)
  }

  size(at: Location): Promise<number | null> {
    return this.#holderOf(at).size(at)
  }

  exists(at: Location): Promise<boolean> {
    return this.#holderOf(at).exists(at)
  }

  /** Those in the database are under no bucket's UUID but `INLINE_BUCKET`. */
  async *list(bucket?: string): AsyncGenerator<Stored> {
    if (bucket !== undefined) return yield* this.#holderOf({ bucket }).list(bucket)
    yield* this.#outside.list()
    yield* this.#inside.list()
  }

  unfinished(): AsyncIterable<Unfinished> {
    return this.#outside.unfinished()
  }

  abandon(write: Unfinished): Promise<void> {
    return this.#outside.abandon(write)
  }

  removeFolders(bucket: string): Promise<boolean> {
    return this.#holderOf({ bucket }).removeFolders(bucket)
  }

  check(): Promise<void> {
    return this.#outside.check()
  }

  close(): Promise<void> {
    return this.#outside.close()
  }

  append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    return this.#outside.append(at, from, body, options)
  }

  complete(at: Location, progress: Progress): Promise<void> {
    return this.#outside.complete(at, progress)
  }

  goBack(at: Location, steps: { from: Progress; to: Progress }): Promise<void> {
    return this.#outside.goBack(at, steps)
  }

  wantsClaim(size: number): boolean {
    return this.#outside.wantsClaim(size)
  }

  writePart(at: Location, number: number, body: Readable | Uint8Array, options: PartOptions): Promise<Part> {
    return this.#outside.writePart(at, number, body, options)
  }

  removePart(at: Location, part: Part): Promise<void> {
    return this.#outside.removePart(at, part)
  }

  assemble(at: Location, parts: Part[]): Promise<void> {
    return this.#outside.assemble(at, parts)
  }

  discard(at: Location): Promise<void> {
    return this.#outside.discard(at)
  }

  #holderOf(at: Pick<Location, 'bucket'>): Backend {
    return isInline(at) ? this.#inside : this.#outside
  }
}
