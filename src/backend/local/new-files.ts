import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { StorageError } from '../../model/errors.ts'
import type { WriteOptions, Written } from '../backend.ts'
import type { BatchSize } from '../batch-size.ts'
import { drain } from '../drain.ts'
import { type Files, writeAll } from './files.ts'

/** Files that are made of a body: versions, and parts of some. */
export class NewFiles {
  constructor(
    private readonly files: Files,
    private readonly batchSize: BatchSize,
  ) {}

  /** Makes the file at `path` of a body, durable; or leaves nothing. */
  write(path: string, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    const { maxBytes, giveBack } = options
    if (body instanceof Uint8Array) {
      if (body.length > maxBytes) throw new StorageError('EntityTooLarge')
      return this.files.create(path, async (file) => {
        const writing = writeAll(file, [body], 0)
        const sha256 = options.sha256 ?? createHash('sha256').update(body).digest('hex') // meanwhile
        await writing
        return { size: body.length, sha256 }
      })
    }
    body.on('error', ignore) // it may break before `drain` listens, which then finds it broken
    return this.batchSize.during(() =>
      this.files.create(path, async (file) => {
        const hash = createHash('sha256')
        let length = 0
        const { size } = await drain(body, {
          maxBytes,
          batchBytes: this.batchSize.bytes,
          tap: (chunk) => hash.update(chunk),
          write: async (batch) => {
            length = await writeAll(file, batch, length)
            giveBack?.(batch)
          },
        })
        return { size, sha256: hash.digest('hex') }
      }),
    )
  }
}

const ignore = () => {}
