import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import { UploadPartCopyCommand } from '@aws-sdk/client-s3'
import { MAX_PARTS, MIN_PART } from '../../../config/s3.ts'
import { StorageError } from '../../../model/errors.ts'
import type { Location } from '../../../model/location.ts'
import { checkPartNumber, firstOf, type Part, type PartOptions } from '../../resumable-backend.ts'
import { deleteObject, headObject, readObject } from '../objects.ts'
import { MultipartUpload, type SendPart } from '../writing/multipart-upload.ts'
import { COPY_AT_ONCE } from '../writing/object-copy.ts'
import type { ObjectWriter } from '../writing/object-writer.ts'
import type { PartBuffer } from '../writing/part-buffers.ts'
import { type Piece, planPieces, type Slice } from './assembly-plan.ts'
import type { IncompleteParts } from './incomplete-parts.ts'
import type { ResumableObjectsOptions } from './resumable-objects.ts'

export interface PartObjectsOptions extends ResumableObjectsOptions {
  writer: ObjectWriter
  incompleteParts: IncompleteParts
}

/**
 * Parts of versions in any order. Each is an object of its own, beside the incomplete parts of versions that come in
 * chunks, with which it is listed and removed. To assemble, the store copies them into a multipart upload; only what is
 * too small for that goes through this server once more (decision 0044).
 *
 * They are not the parts of one multipart upload from the beginning: such a part must be in memory or on the disk whole
 * before it is sent, must have 5 MiB unless it is the last, and cannot be told from one that replaces it.
 */
export class PartObjects {
  readonly #options: PartObjectsOptions

  constructor(options: PartObjectsOptions) {
    this.#options = options
  }

  /** As `ResumableBackend.writePart`. */
  async write(
    at: Location,
    number: number,
    body: Readable | Uint8Array,
    { maxBytes }: PartOptions,
  ): Promise<Part> {
    checkPartNumber(number)
    const { writer } = this.#options
    const id = randomUUID()
    const key = this.#key(at, id)
    const written = await (body instanceof Uint8Array
      ? writer.write(key, body, { maxBytes })
      : writer.writeStream(key, body, { maxBytes }))
    return { number, ...written, notes: id }
  }

  async remove(at: Location, { notes }: Part): Promise<void> {
    await deleteObject(this.#options.store, this.#key(at, notes))
  }

  /** As `ResumableBackend.assemble`. */
  async assemble(at: Location, parts: Part[]): Promise<void> {
    firstOf(parts)
    const { store, keys, incompleteParts } = this.#options
    const key = keys.of(at)
    const size = parts.reduce((sum, part) => sum + part.size, 0)
    const made = await headObject(store, key)
    if (made && made.size !== size) throw new StorageError('MissingBytes')
    if (!made) await this.#make(at, key, parts, size)
    await incompleteParts.removeAll(at).catch(() => {}) // the cleanup finds them
  }

  async #make(at: Location, key: string, parts: Part[], size: number): Promise<void> {
    const { store, buffers, parallel } = this.#options
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
