import { Readable } from 'node:stream'
import type { Location } from '../model/location.ts'
import type { BackendTimes } from '../telemetry/metrics/backend-times.ts'
import type { Histogram } from '../telemetry/metrics/histogram.ts'
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

/** What is measured, each by itself; the cleanup's lists, which take as long as there are files, are not. */
const OPERATIONS = ['write', 'read', 'head', 'copy', 'remove', 'append', 'part', 'assemble', 'check'] as const

type MeasuredOperation = (typeof OPERATIONS)[number]

/**
 * A backend whose times are noted: how long it took until it was done, or had failed. Of a body that comes as a stream only
 * the time after its last byte counts, since until then it is as fast as the client; one that broke says nothing. Reading
 * is over when the bytes are there to be read.
 */
export class MeasuredBackend implements ResumableBackend {
  readonly isLocal: boolean
  readonly #backend: ResumableBackend
  readonly #times: Record<MeasuredOperation, Histogram>

  /** @param name as the settings call it */
  constructor(backend: ResumableBackend, name: string, times: BackendTimes) {
    this.#backend = backend
    this.isLocal = backend.isLocal
    const entries = OPERATIONS.map((operation) => [operation, times.of(name, operation)])
    this.#times = Object.fromEntries(entries) as Record<MeasuredOperation, Histogram>
  }

  write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    return timed(this.#times.write, this.#backend.write(at, body, options), body)
  }

  append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    return timed(this.#times.append, this.#backend.append(at, from, body, options), body)
  }

  complete(at: Location, progress: Progress): Promise<void> {
    return timed(this.#times.assemble, this.#backend.complete(at, progress))
  }

  goBack(at: Location, steps: { from: Progress; to: Progress }): Promise<void> {
    return this.#backend.goBack(at, steps)
  }

  wantsClaim(size: number): boolean {
    return this.#backend.wantsClaim(size)
  }

  writePart(at: Location, number: number, body: Readable | Uint8Array, options: PartOptions): Promise<Part> {
    return timed(this.#times.part, this.#backend.writePart(at, number, body, options), body)
  }

  removePart(at: Location, part: Part): Promise<void> {
    return timed(this.#times.remove, this.#backend.removePart(at, part))
  }

  assemble(at: Location, parts: Part[]): Promise<void> {
    return timed(this.#times.assemble, this.#backend.assemble(at, parts))
  }

  discard(at: Location): Promise<void> {
    return timed(this.#times.remove, this.#backend.discard(at))
  }

  read(at: Location, options?: ReadOptions): Promise<Readable> {
    return timed(this.#times.read, this.#backend.read(at, options))
  }

  readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    return timed(this.#times.read, this.#backend.readWhole(at, size))
  }

  directUrl(at: Location, size: number, headers: ResponseHeaders): Promise<URL | null> {
    return this.#backend.directUrl(at, size, headers)
  }

  file(at: Location): Promise<FileOnDisk | null> {
    return this.#backend.file(at)
  }

  copy(from: Location, to: Location): Promise<void> {
    return timed(this.#times.copy, this.#backend.copy(from, to))
  }

  remove(at: Location): Promise<void> {
    return timed(this.#times.remove, this.#backend.remove(at))
  }

  size(at: Location): Promise<number | null> {
    return timed(this.#times.head, this.#backend.size(at))
  }

  exists(at: Location): Promise<boolean> {
    return timed(this.#times.head, this.#backend.exists(at))
  }

  list(bucket?: string): AsyncIterable<Stored> {
    return this.#backend.list(bucket)
  }

  unfinished(): AsyncIterable<Unfinished> {
    return this.#backend.unfinished()
  }

  abandon(write: Unfinished): Promise<void> {
    return this.#backend.abandon(write)
  }

  removeFolders(bucket: string): Promise<boolean> {
    return this.#backend.removeFolders(bucket)
  }

  check(): Promise<void> {
    return timed(this.#times.check, this.#backend.check())
  }

  close(): Promise<void> {
    return this.#backend.close()
  }
}

/** The same promise, so that nobody waits for the measuring. */
function timed<T>(times: Histogram, working: Promise<T>, body?: Readable | Uint8Array): Promise<T> {
  let since = performance.now()
  let isCounted = true
  if (body instanceof Readable && !body.readableEnded) {
    isCounted = false
    body.once('end', () => {
      since = performance.now()
      isCounted = true
    })
  }
  const note = () => {
    if (isCounted) times.observe((performance.now() - since) / 1000)
  }
  working.then(note, note)
  return working
}
