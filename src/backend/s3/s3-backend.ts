import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { S3Settings } from '../../config/s3.ts'
import { StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { Tracing } from '../../telemetry/tracing/tracing.ts'
import type { ReadOptions, ResponseHeaders, Stored, Unfinished, WriteOptions, Written } from '../backend.ts'
import { BatchSize } from '../batch-size.ts'
import type {
  Appended,
  AppendOptions,
  Part,
  PartOptions,
  Progress,
  ResumableBackend,
} from '../resumable-backend.ts'
import { CheckObjects } from './check-objects.ts'
import { DirectUrls } from './direct-urls.ts'
import { listObjects, listUploads } from './listing.ts'
import { ObjectKeys } from './object-keys.ts'
import { deleteObject, headObject, readObject } from './objects.ts'
import { PartObjects } from './resumable/part-objects.ts'
import { ResumableObjects } from './resumable/resumable-objects.ts'
import { Store } from './store.ts'
import { ByteSender } from './writing/byte-sender.ts'
import { abortUpload } from './writing/multipart-upload.ts'
import { COPY_AT_ONCE, copyObject } from './writing/object-copy.ts'
import { ObjectWriter } from './writing/object-writer.ts'
import { PartBuffers } from './writing/part-buffers.ts'

/** What every store sends back in a header as it was signed: Ceph answers a tab with half an answer. */
const PRINTABLE = /^[\x20-\x7e]*$/

export interface S3BackendOptions extends S3Settings {
  /** Where parts of uploads are kept for which there is no memory. Made when missing. */
  spoolDir: string
  /** Most bytes that are copied with one request. */
  copyAtOnce?: number
  /** How many parts of an upload are listed with one request; as many as the store likes when absent. */
  partsPerPage?: number
  /** The same of objects. */
  keysPerPage?: number | undefined
  /** Where the store's answers are steps of requests. */
  tracing?: Tracing | undefined
}

/**
 * Bytes in a bucket of an S3-compatible store, which any number of servers may share.
 *
 *     <prefix><bucket uuid>/<version>
 *     <prefix>tails/<bucket uuid>/<version>/<uuid>        the newest bytes of a version that arrives in chunks; or a part
 *     <prefix>.check-<uuid>                               a few bytes, see CheckObjects
 *
 * Every object appears whole or not at all. What a crash can leave, and who cleans it:
 * - an object whose upload was never acknowledged: its version is on `storage.uploads`;
 * - a multipart upload without an end, an incomplete part, or what a check has written: `unfinished` names it, and the
 *   cleanup abandons it;
 * - an object that the store has made from a request given up before: no row names it, so the sweep finds it.
 */
export class S3Backend implements ResumableBackend {
  /** No database connection is held while a remote store answers. */
  readonly isLocal = false
  readonly #store: Store
  readonly #keys: ObjectKeys
  readonly #writer: ObjectWriter
  readonly #resumable: ResumableObjects
  readonly #parts: PartObjects
  readonly #checks: CheckObjects
  readonly #keysPerPage: number | undefined
  readonly #copyLimits: { atOnce: number; parallel: number }

  /** Present when large downloads may go past this server. */
  readonly #direct: { urls: DirectUrls; minSize: number } | undefined

  constructor(options: S3BackendOptions) {
    const { prefix, partSize, bufferSize: memory, parallelParts: parallel, spoolDir: folder } = options
    this.#store = new Store(options, options.tracing)
    this.#keys = new ObjectKeys(prefix)
    const buffers = new PartBuffers({ partSize, memory, folder })
    const sender = new ByteSender(this.#store)
    const batchSize = new BatchSize()
    const writing = { store: this.#store, sender, buffers, batchSize, parallel }
    this.#writer = new ObjectWriter(writing)
    const resuming = { ...writing, keys: this.#keys, partsPerPage: options.partsPerPage }
    this.#resumable = new ResumableObjects(resuming)
    const { incompleteParts } = this.#resumable
    this.#parts = new PartObjects({ ...resuming, writer: this.#writer, incompleteParts })
    this.#keysPerPage = options.keysPerPage
    this.#checks = new CheckObjects({ store: this.#store, keys: this.#keys })
    const { redirect } = options
    this.#direct = redirect && {
      urls: new DirectUrls(options, redirect.publicEndpoint),
      minSize: redirect.minSize,
    }
    this.#copyLimits = { atOnce: options.copyAtOnce ?? COPY_AT_ONCE, parallel }
  }

  async write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    const key = this.#keys.of(at)
    if (body instanceof Uint8Array) return this.#writer.write(key, body, options)
    return this.#writer.writeStream(key, body, options)
  }

  append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    return this.#resumable.append(at, from, body, options)
  }

  complete(at: Location, progress: Progress): Promise<void> {
    return this.#resumable.complete(at, progress)
  }

  goBack(at: Location, steps: { from: Progress; to: Progress }): Promise<void> {
    return this.#resumable.goBack(at, steps)
  }

  wantsClaim(size: number): boolean {
    return this.#parts.wantsClaim(size)
  }

  writePart(at: Location, number: number, body: Readable | Uint8Array, options: PartOptions): Promise<Part> {
    return this.#parts.write(at, number, body, options)
  }

  removePart(at: Location, part: Part): Promise<void> {
    return this.#parts.remove(at, part)
  }

  assemble(at: Location, parts: Part[]): Promise<void> {
    return this.#parts.assemble(at, parts)
  }

  discard(at: Location): Promise<void> {
    this.#parts.forget(at)
    return this.#resumable.discard(at)
  }

  async read(at: Location, options: ReadOptions = {}): Promise<Readable> {
    return readObject(this.#store, this.#keys.of(at), options)
  }

  async readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(
      await buffer(await readObject(this.#store, this.#keys.of(at), { size, isShort: true })),
    )
  }

  async file(): Promise<null> {
    return null
  }

  async directUrl(at: Location, size: number, headers: ResponseHeaders): Promise<URL | null> {
    if (!this.#direct || size < this.#direct.minSize) return null
    if (!Object.values(headers).every((value) => PRINTABLE.test(value))) return null
    // The store's own 404 would not tell us that a row has lost its bytes.
    if ((await this.size(at)) !== size) throw new StorageError('MissingBytes')
    return this.#direct.urls.of(this.#keys.of(at), headers)
  }

  copy(from: Location, to: Location): Promise<void> {
    return copyObject(this.#store, this.#keys.of(from), this.#keys.of(to), this.#copyLimits)
  }

  async remove(at: Location): Promise<void> {
    await deleteObject(this.#store, this.#keys.of(at))
  }

  async size(at: Location): Promise<number | null> {
    return (await headObject(this.#store, this.#keys.of(at)))?.size ?? null
  }

  async exists(at: Location): Promise<boolean> {
    return (await this.size(at)) !== null
  }

  list(bucket?: string): AsyncGenerator<Stored> {
    const prefix = bucket === undefined ? this.#keys.prefix : this.#keys.ofBucket(bucket)
    return listObjects(this.#store, this.#keys, prefix, this.#keysPerPage)
  }

  async *unfinished(): AsyncGenerator<Unfinished> {
    const { incompleteParts } = this.#resumable
    const uploads = listUploads(this.#store, this.#keys, this.#keys.prefix)
    for await (const { location, key, id, startedAt } of uploads) {
      const isPart = this.#keys.incompletePart(key) !== null
      if (location === null) yield { location, id: this.#checks.uploadId(key, id), startedAt }
      else yield { location, id: incompleteParts.uploadId(key, id), isPart, startedAt }
    }
    yield* incompleteParts.list()
    yield* this.#checks.list()
  }

  async abandon(write: Unfinished): Promise<void> {
    if (write.location === null) return this.#checks.abandon(write.id)
    if (await this.#resumable.incompleteParts.abandon(write)) return
    await abortUpload(this.#store, this.#keys.of(write.location), write.id)
  }

  async removeFolders(bucket: string): Promise<boolean> {
    // A store has no folders: what may be left are bytes.
    for await (const _ of this.list(bucket)) return false
    return true
  }

  check(): Promise<void> {
    return this.#checks.run()
  }

  async close(): Promise<void> {
    this.#direct?.urls.close()
    this.#store.close()
  }
}
