import type { Readable } from 'node:stream'

/**
 * Reads a short stream to its end. Listens to events, since a promise for each chunk is what a small request
 * costs most. After a failure the stream is left open, for its giver to dispose of.
 *
 * @param maxBytes in bytes
 * @param tooLarge makes what is thrown at the first byte too many
 * @param signal ends the reading, with its reason
 * @throws the stream's own error, or one with code ERR_STREAM_PREMATURE_CLOSE when it ends without an 'end'
 */
export function readBounded(
  stream: Readable,
  maxBytes: number,
  tooLarge: () => Error,
  signal?: AbortSignal,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    const settle = () => stream.off('data', onData).off('end', onEnd).off('close', onClose)
    const fail = (error: Error) => {
      settle()
      stream.pause()
      reject(error) // the 'error' listener stays: what a left stream still says must not be uncaught
    }
    const onData = (chunk: Buffer) => {
      size += chunk.length
      if (size > maxBytes) fail(tooLarge())
      else chunks.push(chunk)
    }
    const onEnd = () => {
      settle()
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks, size))
    }
    const onClose = () => fail(prematureClose(stream))
    stream.on('error', fail)
    // Events that are past will not come again.
    if (stream.destroyed || stream.readableEnded) return onClose()
    signal?.addEventListener('abort', () => fail(signal.reason), { once: true })
    stream.on('data', onData).on('end', onEnd).on('close', onClose)
    stream.resume() // someone may have paused it
  })
}

/** Why a stream was over without an 'end': its own error, or the one that Node has for that. */
export function prematureClose(stream: Readable): Error {
  if (stream.errored) return stream.errored
  const error = new Error('The stream ended before it was complete')
  return Object.assign(error, { code: 'ERR_STREAM_PREMATURE_CLOSE' })
}
