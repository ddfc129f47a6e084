import type { Readable } from 'node:stream'
import { hasCode, StorageError } from '../model/errors.ts'
import type { Location } from '../model/location.ts'
import type {
  FileOnDisk,
  ReadOptions,
  ResponseHeaders,
  Stored,
  Unfinished,
  WriteOptions,
  Written,
} from './backend.ts'
import type {
  Appended,
  AppendOptions,
  Part,
  PartOptions,
  Progress,
  ResumableBackend,
} from './resumable-backend.ts'

export interface FallbackBackendOptions {
  /** Where bytes are written. */
  current: ResumableBackend
  /** Where bytes may still be that were written before. */
  previous: ResumableBackend
}

/**
 * Two backends as one, for the time of a move: bytes are written to `current`, and read where they are.
 *
 * Reads look in `current`, then in `previous`, and once more in `current`: the bytes may have been moved between the
 * two looks, and removed from `previous`. Only an answer that there are none leads on to the next look. A backend that
 * does not answer is BackendUnavailable, since nobody knows then whether the bytes are there.
 */
export class FallbackBackend implements ResumableBackend {
  readonly isLocal: boolean
  readonly #current: ResumableBackend
  readonly #previous: ResumableBackend

  constructor({ current, previous }: FallbackBackendOptions) {
    this.#current = current
    this.#previous = previous
    this.isLocal = current.isLocal
  }

  write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    return this.#current.write(at, body, options)
  }

  /** A version goes on where its first chunks are; one that has none yet begins in `current`. */
  append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    return this.#whereTheyAre((backend) => backend.append(at, from, body, options))
  }

  complete(at: Location, progress: Progress): Promise<void> {
    return this.#whereTheyAre((backend) => backend.complete(at, progress))
  }

  async goBack(at: Location, steps: { from: Progress; to: Progress }): Promise<void> {
    await this.#both((backend) => backend.goBack(at, steps))
  }

  wantsClaim(size: number): boolean {
    return this.#current.wantsClaim(size)
  }

  writePart(at: Location, number: number, body: Readable | Uint8Array, options: PartOptions): Promise<Part> {
    return this.#current.writePart(at, number, body, options)
  }

  async removePart(at: Location, part: Part): Promise<void> {
    await this.#both((backend) => backend.removePart(at, part))
  }

  /** Of parts in both nothing can be made: who began before the move begins anew. */
  assemble(at: Location, parts: Part[]): Promise<void> {
    return this.#whereTheyAre((backend) => backend.assemble(at, parts))
  }

  async discard(at: Location): Promise<void> {
    await this.#both((backend) => backend.discard(at))
  }

  read(at: Location, options?: ReadOptions): Promise<Readable> {
    return this.#whereTheyAre((backend) => backend.read(at, options))
  }

  readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#whereTheyAre((backend) => backend.readWhole(at, size))
  }

  directUrl(at: Location, size: number, headers: ResponseHeaders): Promise<URL | null> {
    return this.#whereTheyAre((backend) => backend.directUrl(at, size, headers))
  }

  async file(at: Location): Promise<FileOnDisk | null> {
    return (await this.#current.file(at)) ?? this.#previous.file(at)
  }

  copy(from: Location, to: Location): Promise<void> {
    return this.#whereTheyAre((backend) =>
      backend === this.#current ? backend.copy(from, to) : this.#copyAcross(from, to),
    )
  }

  async remove(at: Location): Promise<void> {
    await this.#both((backend) => backend.remove(at))
  }

  async size(at: Location): Promise<number | null> {
    return (await this.#current.size(at)) ?? (await this.#previous.size(at)) ?? (await this.#current.size(at))
  }

  async exists(at: Location): Promise<boolean> {
    return (await this.size(at)) !== null
  }

  /**
   * What both have; a version that is in both comes twice. To leave it out would take a question for each, or all
   * names in memory. The cleanup does without: to remove a version a second time is a success, though it counts as two
   * repairs of a pass; and the share of files that nothing names, by which it knows a wrong database, is wrong by a
   * factor of two at most.
   */
  async *list(bucket?: string): AsyncGenerator<Stored> {
    yield* this.#current.list(bucket)
    yield* this.#previous.list(bucket)
  }

  async *unfinished(): AsyncGenerator<Unfinished> {
    for (const [place, backend] of this.#places()) {
      for await (const one of backend.unfinished()) yield { ...one, id: `${place}:${one.id}` }
    }
  }

  async abandon(write: Unfinished): Promise<void> {
    for (const [place, backend] of this.#places()) {
      const prefix = `${place}:`
      if (write.id.startsWith(prefix)) await backend.abandon({ ...write, id: write.id.slice(prefix.length) })
    }
  }

  async removeFolders(bucket: string): Promise<boolean> {
    const areGone = await this.#both((backend) => backend.removeFolders(bucket))
    return areGone.every((isGone) => isGone)
  }

  async check(): Promise<void> {
    await this.#both((backend) => backend.check())
  }

  async close(): Promise<void> {
    await this.#both((backend) => backend.close())
  }

  #places(): [string, ResumableBackend][] {
    return [
      ['current', this.#current],
      ['previous', this.#previous],
    ]
  }

  /** Does the same with each, with the second even if the first fails. */
  async #both<T>(work: (backend: ResumableBackend) => Promise<T>): Promise<T[]> {
    const results = await Promise.allSettled([work(this.#current), work(this.#previous)])
    return results.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
  }

  /** Works with bytes in the first place that has them. @throws as `work`; MissingBytes only after all three looks */
  async #whereTheyAre<T>(work: (backend: ResumableBackend) => Promise<T>): Promise<T> {
    for (const backend of [this.#current, this.#previous]) {
      try {
        return await work(backend)
      } catch (error) {
        if (!hasCode(error, 'MissingBytes')) throw error
      }
    }
    return work(this.#current)
  }

  /** Copies what only `previous` has. @throws MissingBytes when it has not */
  async #copyAcross(from: Location, to: Location): Promise<void> {
    const size = await this.#previous.size(from)
    if (size === null) throw new StorageError('MissingBytes')
    const body = await this.#previous.read(from, { size })
    try {
      await this.#current.write(to, body, { maxBytes: size })
    } catch (error) {
      // The body broke, which is `previous`' fault here; as its own error it would pass for a client's.
      if (body.destroyed && !(error instanceof StorageError))
        throw new StorageError('BackendUnavailable', { cause: error })
      throw error
    } finally {
      body.destroy()
    }
  }
}
