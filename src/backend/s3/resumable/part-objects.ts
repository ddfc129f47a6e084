import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { UploadPartCopyCommand } from '@aws-sdk/client-s3'
import { MAX_PARTS, MIN_PART } from '../../../config/s3.ts'
import { StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import { drain } from '../../drain.ts'
import { checkPartNumber, firstOf, type Part, type PartOptions } from '../../resumable-backend.ts'
import { listUploads } from '../listing.ts'
import { deleteObject, headObject, readObject } from '../objects.ts'
import { abortUpload, MultipartUpload, type SendPart } from '../writing/multipart-upload.ts'
import { COPY_AT_ONCE } from '../writing/object-copy.ts'
import type { ObjectWriter } from '../writing/object-writer.ts'
import type { PartBuffer } from '../writing/part-buffers.ts'
import { type Piece, planPieces, type Slice } from './assembly-plan.ts'
import type { IncompleteParts } from './incomplete-parts.ts'
import type { ResumableObjectsOptions } from './resumable-objects.ts'
import { notesOfStorePart, type PartPlace, StoreParts, storePartOf } from './store-parts.ts'

export interface PartObjectsOptions extends ResumableObjectsOptions {
  writer: ObjectWriter
  incompleteParts: IncompleteParts
}

/**
 * Parts of versions in any order. Those whose number is claimed are the store's own, as far as can be (`StoreParts`). Each
 * other is an object of its own, beside the incomplete parts of versions that come in chunks, with which it is listed and
 * removed. To assemble, the store copies them into a multipart upload; only what is too small for that goes through this
 * server once more (decision 0044).
 */
export class PartObjects {
  readonly #options: PartObjectsOptions
  readonly #own: StoreParts

  constructor(options: PartObjectsOptions) {
    this.#options = options
    this.#own = new StoreParts(options)
  }

  /** As `ResumableBackend.wantsClaim`. */
  wantsClaim(size: number): boolean {
    return this.#own.wantsClaim(size)
  }

  /** The version has ended. */
  forget(at: Location): void {
    this.#own.forget(at)
  }

  /** As `ResumableBackend.writePart`. */
  async write(
    at: Location,
    number: number,
    body: Readable | Uint8Array,
    options: PartOptions,
  ): Promise<Part> {
    checkPartNumber(number)
    const { size, claim } = options
    const stream = body instanceof Uint8Array ? Readable.from([body]) : body
    stream.on('error', () => {}) // it may break before anybody reads it, who then finds it broken
    const place = claim && this.#own.place(at, number, claim)
    if (place && size <= this.#options.buffers.partSize) return this.#writeWhole(place, stream, size)
    if (place && (await this.#own.mayPass(size))) {
      const { part, sha256 } = await this.#own.pass(place, stream, options)
      return { number, size, sha256, notes: notesOfStorePart(part) }
    }
    const id = randomUUID()
    const written = await this.#options.writer.writeStream(this.#key(at, id), stream, { maxBytes: size })
    return { number, ...written, notes: id }
  }

  /** Stores a part that fits into a buffer: as the store's own, unless it turns out that it cannot be that. */
  async #writeWhole(place: PartPlace, body: Readable, maxBytes: number): Promise<Part> {
    const { at, number } = place
    const { buffers, batchSize, sender } = this.#options
    const bytes = await buffers.open()
    try {
      const hash = createHash('sha256')
      const { size } = await batchSize.during(() =>
        drain(body, {
          maxBytes,
          batchBytes: batchSize.bytes,
          tap: (chunk) => hash.update(chunk),
          write: async (batch) => {
            for (const chunk of batch) await bytes.append(chunk)
          },
        }),
      )
      const sha256 = hash.digest('hex')
      const own = await this.#own.send(place, bytes)
      if (own) return { number, size, sha256, notes: notesOfStorePart(own) }
      const id = randomUUID()
      await sender.put(this.#key(at, id), await bytes.content(), { sha256 })
      return { number, size, sha256, notes: id }
    } finally {
      await bytes.release()
    }
  }

  /** One that is the store's own goes with the version. */
  async remove(at: Location, part: Part): Promise<void> {
    if (storePartOf(part)) return
    await deleteObject(this.#options.store, this.#key(at, part.notes))
  }

  /** As `ResumableBackend.assemble`. */
  async assemble(at: Location, parts: Part[]): Promise<void> {
    firstOf(parts)
    const { store, keys } = this.#options
    const key = keys.of(at)
    const size = parts.reduce((sum, part) => sum + part.size, 0)
    const made = await headObject(store, key)
    if (made && made.size !== size) throw new StorageError('MissingBytes')
    if (!made) await this.#make(at, key, parts, size)
    await this.#removeAll(at, key).catch(() => {}) // the cleanup finds them
  }

  async #removeAll(at: Location, key: string): Promise<void> {
    const { store, keys, incompleteParts } = this.#options
    this.forget(at)
    for await (const upload of listUploads(store, keys, key)) await abortUpload(store, key, upload.id)
    await incompleteParts.removeAll(at)
  }

  async #make(at: Location, key: string, parts: Part[], size: number): Promise<void> {
    const { store, buffers, parallel } = this.#options
    if (parts.some(storePartOf)) {
      return this.#own.complete(at, parts, (part) => this.#copy(at, { part, start: 0, end: part.size }))
    }
    if (size <= buffers.partSize) return this.#makeAtOnce(at, key, parts)
    const upload = new MultipartUpload({ store, key, metadata: {}, parallel })
    try {
      // One part needs no place of its own if it is copied in pieces; all together may not be more than these.
      const most = Math.max(COPY_AT_ONCE, Math.ceil(size / Math.max(1, MAX_PARTS - parts.length)))
      for (const piece of planPieces(parts, { least: MIN_PART, most })) await this.#add(at, upload, piece)
      await upload.complete()
    } catch (error) {
      await upload.abort()
      throw error
    }
  }

  async #makeAtOnce(at: Location, key: string, parts: Part[]): Promise<void> {
    const slices = parts.map((part) => ({ part, start: 0, end: part.size }))
    const bytes = await this.#gather(at, slices)
    try {
      await this.#options.sender.put(key, await bytes.content())
    } finally {
      await bytes.release()
    }
  }

  async #add(at: Location, upload: MultipartUpload, piece: Piece): Promise<void> {
    const [slice, ...more] = piece
    if (!slice) return
    if (more.length === 0) return upload.add(this.#copy(at, slice))
    const bytes = await this.#gather(at, piece)
    await upload.add(
      (target, signal) => this.#options.sender.part(bytes, target, signal),
      () => bytes.release(),
    )
  }

  #copy(at: Location, { part, start, end }: Slice): SendPart {
    const { store } = this.#options
    const CopySource = `${store.bucket}/${this.#key(at, part.notes)}`
    return async (target, signal) => {
      const input = { ...target, CopySource, CopySourceRange: `bytes=${start}-${end - 1}` }
      const { CopyPartResult } = await store.send(new UploadPartCopyCommand(input), {
        signal,
        longWork: true,
      })
      return { ETag: CopyPartResult?.ETag, ChecksumSHA256: CopyPartResult?.ChecksumSHA256 }
    }
  }

  /** Together no more than one part. @throws MissingBytes, BackendUnavailable, BackendRefused */
  async #gather(at: Location, slices: Slice[]): Promise<PartBuffer> {
    const { store, buffers } = this.#options
    const gathered = await buffers.open()
    try {
      for (const { part, start, end } of slices) {
        const options = { size: part.size, isShort: true }
        const range = start === 0 && end === part.size ? {} : { range: { start, end: end - 1 } }
        const body = await readObject(store, this.#key(at, part.notes), { ...options, ...range })
        for await (const bytes of body) await gathered.append(bytes)
      }
      return gathered
    } catch (error) {
      await gathered.release()
      throw error instanceof StorageError ? error : new StorageError('BackendUnavailable', { cause: error })
    }
  }

  #key(at: Location, id: string): string {
    return this.#options.keys.ofIncompletePart(at, id)
  }
}
