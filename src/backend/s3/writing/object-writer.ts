import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { StorageError } from '../../../model/errors.ts'
import type { WriteOptions, Written } from '../../backend.ts'
import type { BatchSize } from '../../batch-size.ts'
import { drain } from '../../drain.ts'
import type { Store } from '../store.ts'
import type { ByteSender } from './byte-sender.ts'
import { MultipartUpload } from './multipart-upload.ts'
import type { PartBuffers } from './part-buffers.ts'
import { PartCutter } from './part-cutter.ts'

/** What it takes to bring bytes into the store. */
export interface ObjectWriterOptions {
  store: Store
  sender: ByteSender
  buffers: PartBuffers
  batchSize: BatchSize
  /** How many parts of one object are sent at once. */
  parallel: number
  /** Whether an object that is there already is replaced; otherwise it is a bug. */
  replaces?: boolean
}

/** Writes objects: with one PUT what fits into one part, the rest as multipart uploads. */
export class ObjectWriter {
  readonly #options: ObjectWriterOptions

  constructor(options: ObjectWriterOptions) {
    this.#options = options
  }

  /** @throws EntityTooLarge, StorageFull, BackendUnavailable, BackendRefused */
  async write(key: string, bytes: Uint8Array, { maxBytes, sha256: known }: WriteOptions): Promise<Written> {
    if (bytes.length > maxBytes) throw new StorageError('EntityTooLarge')
    const sha256 = known ?? createHash('sha256').update(bytes).digest('hex')
    const { sender, replaces = false } = this.#options
    await sender.put(key, bytes, { sha256, replaces })
    return { size: bytes.length, sha256 }
  }

  /** @throws EntityTooLarge, StorageFull, BackendUnavailable, BackendRefused, the stream's own error */
  async writeStream(key: string, body: Readable, options: WriteOptions): Promise<Written> {
    body.on('error', () => {}) // it may break before `drain` listens, which then finds it broken
    const { maxBytes, sha256 } = options
    const { store, sender, buffers, batchSize, parallel, replaces = false } = this.#options
    const metadata: Record<string, string> = sha256 === undefined ? {} : { sha256 }
    const upload = new MultipartUpload({ store, key, metadata, parallel, replaces })
    const cutter = new PartCutter(buffers, (part) =>
      upload.add(
        (target, signal) => sender.part(part, target, signal),
        () => part.release(),
      ),
    )
    try {
      const hash = createHash('sha256')
      const { size } = await batchSize.during(() =>
        drain(body, {
          maxBytes,
          batchBytes: batchSize.bytes,
          tap: (chunk) => hash.update(chunk),
          write: (batch) => cutter.take(batch),
        }),
      )
      const written = { size, sha256: hash.digest('hex') }
      if (upload.isBegun) {
        await cutter.sendRest()
        await upload.complete()
      } else {
        await sender.put(key, await cutter.rest(), { sha256: written.sha256, replaces })
      }
      return written
    } catch (error) {
      await upload.abort()
      throw error
    } finally {
      await cutter.release()
    }
  }
}
