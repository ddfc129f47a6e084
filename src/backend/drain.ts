import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { StorageError } from '../errors.ts'
import { prematureClose } from '../premature-close.ts'
import type { Written } from './backend.ts'

export interface DrainOptions {
  /** Largest length accepted, in bytes. */
  maxBytes: number
  /** A batch is written as soon as it has this many bytes; only the last one is smaller. Asked again for each. */
  batchBytes(): number
  /** Stores the next bytes. Called again only after the promise before has settled. */
  write(batch: Uint8Array[]): Promise<void>
}

/** More chunks than one `writev` takes (IOV_MAX) gain nothing, and tiny ones weigh more than their bytes. */
const MAX_BATCH_CHUNKS = 1024

/**
 * Hands all of `body` to `write` in batches, counting and hashing the bytes as they pass. While one batch
 * is written the next is gathered, then the body waits: two batches are in memory at most.
 *
 * Rejects with the body's own error, with EntityTooLarge at the first byte too many, or as `write` did, and
 * only once no write is running. `body` is then paused and left open. One that ends without an 'end', because
 * it was destroyed or its client went away, rejects with ERR_STREAM_PREMATURE_CLOSE.
 *
 * Listens to events, because `for await` was measured a quarter slower on a fast upload.
 */
export function drain(body: Readable, { maxBytes, batchBytes, write }: DrainOptions): Promise<Written> {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha256')
    let size = 0
    let batch: Uint8Array[] = []
    let gathered = 0 // bytes in `batch`
    let writing = false
    let ended = false
    let failure: { reason: unknown } | undefined

    const isFull = () => gathered >= batchBytes() || batch.length >= MAX_BATCH_CHUNKS

    const onData = (chunk: unknown) => {
      // Thrown in here, this would be an uncaught exception: `hash.update` refuses such a chunk.
      if (!(chunk instanceof Uint8Array)) return fail(new TypeError('A body must consist of bytes'))
      size += chunk.length
      if (size > maxBytes) return fail(new StorageError('EntityTooLarge'))
      hash.update(chunk)
      batch.push(chunk)
      gathered += chunk.length
      if (!isFull()) return
      if (writing) body.pause()
      else flush()
    }
    const onEnd = () => {
      ended = true
      if (!writing) flush()
    }
    const onClose = () => {
      if (!ended) fail(prematureClose(body))
    }

    const flush = () => {
      if (batch.length === 0) return finish()
      const next = batch
      batch = []
      gathered = 0
      writing = true
      write(next).then(onWritten, (reason: unknown) => {
        writing = false
        fail(reason)
      })
    }
    const onWritten = () => {
      writing = false
      if (failure) return finish()
      if (ended || isFull()) flush()
      if (!ended) body.resume()
    }

    const fail = (reason: unknown) => {
      failure ??= { reason }
      body.off('data', onData).off('end', onEnd).off('close', onClose)
      body.pause() // the 'error' listener stays: what a left stream still says must not be uncaught
      if (!writing) finish()
    }
    const finish = () => {
      if (failure) reject(failure.reason)
      else resolve({ size, sha256: hash.digest('hex') })
    }

    body.on('error', fail)
    // Events that are past will not come again.
    if (body.destroyed || body.readableEnded) return fail(prematureClose(body))
    body.on('data', onData).on('end', onEnd).on('close', onClose)
    body.resume() // someone may have paused it while asking whether it is welcome
  })
}
