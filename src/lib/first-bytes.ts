import type { Readable } from 'node:stream'
import { PacedBody } from './paced-body.ts'
import { prematureClose } from './streams.ts'

export interface FirstBytes {
  /** As many as were asked for, or all that there are. */
  head: Uint8Array
  /** The stream as if nobody had looked. It is to be read in the place of the one that was given. */
  whole: Readable
}

/**
 * Reads a stream's first bytes, and no more than the chunk that they end in. After a failure the stream is left paused and
 * open, for its giver to dispose of.
 *
 * @throws the stream's own error, or one with code ERR_STREAM_PREMATURE_CLOSE when it ends without an 'end'
 */
export function readFirstBytes(stream: Readable, length: number): Promise<FirstBytes> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = []
    let size = 0
    const leave = () => {
      stream.off('data', onData).off('end', onEnd).off('close', onClose)
      stream.pause()
    }
    const finish = (isAll: boolean) => {
      leave()
      const whole = new PacedBody(stream, always)
      whole.on('error', () => {}) // it may break before anybody reads it, who then finds it broken
      for (const chunk of chunks) whole.push(chunk)
      if (isAll) whole.push(null)
      const [first = new Uint8Array()] = chunks
      const head = chunks.length > 1 ? Buffer.concat(chunks) : first
      resolve({ head: head.subarray(0, length), whole })
    }
    const onData = (chunk: Uint8Array) => {
      chunks.push(chunk)
      size += chunk.length
      if (size >= length) finish(false)
    }
    const onEnd = () => finish(true)
    const onError = (error: Error) => {
      leave()
      reject(error)
    }
    const onClose = () => onError(prematureClose(stream))
    stream.on('error', onError) // stays: what a left stream still says must not be uncaught
    // Events that are past will not come again.
    if (stream.readableEnded) return finish(true)
    if (stream.destroyed) return onClose()
    stream.on('data', onData).on('end', onEnd).on('close', onClose).resume()
  })
}

const always = () => true
