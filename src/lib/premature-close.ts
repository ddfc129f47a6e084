import type { Readable } from 'node:stream'

/** Why a stream was over without an 'end': its own error, or the one that Node has for that. */
export function prematureClose(stream: Readable): Error {
  if (stream.errored) return stream.errored
  const error = new Error('The stream ended before it was complete')
  return Object.assign(error, { code: 'ERR_STREAM_PREMATURE_CLOSE' })
}
