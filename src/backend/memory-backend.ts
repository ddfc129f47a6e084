import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { UUID } from '../lib/uuid.ts'
import { hasCode, StorageError } from '../model/errors.ts'
import type { Location } from '../model/location.ts'
import type { ReadOptions, Stored, Unfinished, WriteOptions, Written } from './backend.ts'
import { BatchSize } from './batch-size.ts'
import { CHECKPOINT_MS, type Drained, drain, drainSome } from './drain.ts'
import {
  type Appended,
  type AppendOptions,
  checkPartNumber,
  firstOf,
  type Part,
  type PartOptions,
  type Progress,
  type ResumableBackend,
} from './resumable-backend.ts'

/** Bytes under a name, in the pieces in which they came. */
interface Held {
  pieces: Uint8Array[]
  /** Of all pieces, in bytes. */
  size: number
  modifiedAt: Date
}

/**
 * Bytes in the memory of this process, for tests and for those who embed the server and keep nothing. "Durable" means
 * here that the process lives. What is held never passes the limit, and what is on its way counts.
 */
export class MemoryBackend implements ResumableBackend {
  readonly isLocal = true
  readonly #limit: number
  readonly #batchSize = new BatchSize()
  /** By `<bucket>/<version>`; parts by that and `/<number>-<uuid>`. */
  readonly #versions = new Map<string, Held>()
  readonly #parts = new Map<string, Held>()
  #used = 0

  /** @param limitBytes what all versions and parts together may have; with more, a write is StorageFull */
  constructor(limitBytes: number) {
    this.#limit = limitBytes
  }

  async write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    const name = nameOf(at)
    return this.#gather(body, options, (held) => {
      if (this.#versions.has(name)) throw existsAlready(name)
      this.#versions.set(name, held)
    })
  }

  async append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    body.on('error', () => {}) // it may break before `drainSome` listens, which then finds it broken
    const held = this.#resume(at, from)
    let toldAt = performance.now()
    const { size, cut } = await this.#batchSize
      .during(() =>
        drainSome(body, {
          ...options,
          batchBytes: this.#batchSize.bytes,
          write: async (batch) => {
            this.#add(held, batch)
            options.giveBack?.(batch)
            if (performance.now() - toldAt < CHECKPOINT_MS) return
            toldAt = performance.now()
            await options.onProgress({ offset: held.size, notes: null })
          },
        }),
      )
      .catch((error: unknown): Drained => {
        if (!hasCode(error, 'StorageFull')) throw error
        return { size: held.size - from.offset, cut: error } // as far as there was room
      })
    return { progress: { offset: from.offset + size, notes: null }, cut }
  }

  async complete(at: Location, { offset }: Progress): Promise<void> {
    const held = this.#versions.get(nameOf(at))
    if (offset === 0) this.#resume(at, { offset, notes: null })
    else if (held?.size !== offset) throw new StorageError('MissingBytes')
  }

  async goBack(at: Location, { to: { offset } }: { to: Progress }): Promise<void> {
    const held = this.#versions.get(nameOf(at))
    if (held && held.size > offset) this.#cut(held, offset)
  }

  wantsClaim(): boolean {
    return false
  }

  async writePart(
    at: Location,
    number: number,
    body: Readable | Uint8Array,
    { size }: PartOptions,
  ): Promise<Part> {
    checkPartNumber(number)
    const id = randomUUID()
    const name = `${nameOf(at)}/${number}-${id}`
    const written = await this.#gather(body, { maxBytes: size }, (held) => {
      this.#parts.set(name, held)
    })
    return { number, ...written, notes: id }
  }

  async removePart(at: Location, part: Part): Promise<void> {
    this.#forget(this.#parts, partName(at, part))
  }

  async assemble(at: Location, parts: Part[]): Promise<void> {
    firstOf(parts)
    const name = nameOf(at)
    const size = parts.reduce((sum, part) => sum + part.size, 0)
    const made = this.#versions.get(name)
    if (made && made.size !== size) throw new StorageError('MissingBytes')
    if (!made) {
      const pieces = parts.flatMap((part) => {
        const held = this.#parts.get(partName(at, part))
        if (held?.size !== part.size) throw new StorageError('MissingBytes')
        return held.pieces
      })
      this.#versions.set(name, { pieces, size, modifiedAt: new Date() })
      this.#used += size
    }
    this.#forgetParts(name)
  }

  async discard(at: Location): Promise<void> {
    const name = nameOf(at)
    this.#forget(this.#versions, name)
    this.#forgetParts(name)
  }

  async read(at: Location, { range, size }: ReadOptions = {}): Promise<Readable> {
    const held = this.#expect(at, size)
    const { start, end } = range ?? { start: 0, end: held.size - 1 }
    return Readable.from(slices(held.pieces, start, end + 1), { objectMode: false })
  }

  async readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(Buffer.concat(this.#expect(at, size).pieces))
  }

  async directUrl(): Promise<null> {
    return null
  }

  async file(): Promise<null> {
    return null
  }

  async copy(from: Location, to: Location): Promise<void> {
    const { pieces, size } = this.#expect(from)
    const name = nameOf(to)
    if (this.#versions.has(name)) throw existsAlready(name)
    this.#take(size)
    this.#versions.set(name, { pieces: [...pieces], size, modifiedAt: new Date() })
  }

  async remove(at: Location): Promise<void> {
    this.#forget(this.#versions, nameOf(at))
  }

  async size(at: Location): Promise<number | null> {
    return this.#versions.get(nameOf(at))?.size ?? null
  }

  async exists(at: Location): Promise<boolean> {
    return this.#versions.has(nameOf(at))
  }

  async *list(bucket?: string): AsyncGenerator<Stored> {
    for (const [name, { size, modifiedAt }] of this.#versions) {
      const location = locationOf(name)
      if (bucket === undefined || location.bucket === bucket) yield { location, size, modifiedAt }
    }
  }

  async *unfinished(): AsyncGenerator<Unfinished> {
    for (const [name, { modifiedAt: startedAt }] of this.#parts) {
      yield { location: locationOf(name), id: name, isPart: true, startedAt }
    }
  }

  async abandon({ id }: Unfinished): Promise<void> {
    this.#forget(this.#parts, id)
  }

  async removeFolders(bucket: string): Promise<boolean> {
    return ![...this.#versions.keys(), ...this.#parts.keys()].some((name) => name.startsWith(`${bucket}/`))
  }

  async check(): Promise<void> {}

  /** The bytes stay, as those of other backends do. */
  async close(): Promise<void> {}

  /** Takes a whole body, which counts from its first byte. @param keep is given it at the end */
  async #gather(
    body: Readable | Uint8Array,
    { maxBytes, sha256, giveBack }: WriteOptions,
    keep: (held: Held) => void,
  ): Promise<Written> {
    const held: Held = { pieces: [], size: 0, modifiedAt: new Date() }
    try {
      const hash = createHash('sha256')
      if (body instanceof Uint8Array) {
        if (body.length > maxBytes) throw new StorageError('EntityTooLarge')
        this.#add(held, [body])
        if (sha256 === undefined) hash.update(body)
      } else {
        body.on('error', () => {}) // as in `append`
        await this.#batchSize.during(() =>
          drain(body, {
            maxBytes,
            batchBytes: this.#batchSize.bytes,
            tap: (chunk) => hash.update(chunk),
            write: async (batch) => {
              this.#add(held, batch)
              giveBack?.(batch)
            },
          }),
        )
      }
      keep(held)
      const known = body instanceof Uint8Array ? sha256 : undefined
      return { size: held.size, sha256: known ?? hash.digest('hex') }
    } catch (error) {
      this.#used -= held.size
      throw error
    }
  }

  /** What there is of a version, and no more than `offset` bytes now; made when that is none. */
  #resume(at: Location, { offset }: Progress): Held {
    const name = nameOf(at)
    const held = this.#versions.get(name)
    if (held && held.size >= offset) return this.#cut(held, offset)
    if (offset > 0) throw new StorageError('MissingBytes')
    const fresh: Held = { pieces: [], size: 0, modifiedAt: new Date() }
    this.#versions.set(name, fresh)
    return fresh
  }

  /** Copies, since a chunk may be a small piece of a large buffer. @throws StorageFull */
  #add(held: Held, batch: Uint8Array[]): void {
    const piece = Buffer.concat(batch)
    this.#take(piece.length)
    held.pieces.push(piece)
    held.size += piece.length
    held.modifiedAt = new Date()
  }

  #cut(held: Held, size: number): Held {
    this.#used -= held.size - size
    held.pieces = [...slices(held.pieces, 0, size)]
    held.size = size
    return held
  }

  #take(bytes: number): void {
    if (this.#used + bytes > this.#limit) throw new StorageError('StorageFull')
    this.#used += bytes
  }

  #expect(at: Location, size?: number): Held {
    const held = this.#versions.get(nameOf(at))
    if (!held || (size !== undefined && held.size !== size)) throw new StorageError('MissingBytes')
    return held
  }

  #forget(from: Map<string, Held>, name: string): void {
    this.#used -= from.get(name)?.size ?? 0
    from.delete(name)
  }

  #forgetParts(version: string): void {
    for (const name of [...this.#parts.keys()]) {
      if (name.startsWith(`${version}/`)) this.#forget(this.#parts, name)
    }
  }
}

function nameOf({ bucket, version }: Location): string {
  if (!UUID.test(bucket) || !UUID.test(version)) throw new Error(`Not a location: ${bucket}/${version}`)
  return `${bucket}/${version}`
}

function partName(at: Location, { number, notes }: Part): string {
  return `${nameOf(at)}/${number}-${notes}`
}

function locationOf(name: string): Location {
  const [bucket = '', version = ''] = name.split('/')
  return { bucket, version }
}

/** The bytes from `start` on, before `end`. */
function* slices(pieces: Uint8Array[], start: number, end: number): Generator<Uint8Array> {
  let at = 0
  for (const piece of pieces) {
    const slice = piece.subarray(Math.max(0, start - at), Math.max(0, end - at))
    if (slice.length > 0) yield slice
    at += piece.length
  }
}

function existsAlready(name: string): Error {
  return new Error(`A version was to be written twice: ${name}`)
}
