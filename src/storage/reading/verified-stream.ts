import { createHash } from 'node:crypto'
import { pipeline, type Readable, Transform } from 'node:stream'

/**
 * `source`, unless its bytes turn out to have another SHA-256: then the stream breaks before its last chunk,
 * so that a reader who counts never takes the damaged bytes for complete.
 *
 * @param sha256 64 lower-case hexadecimal digits
 * @param mismatch makes the error that the stream breaks with
 */
export function verifiedStream(source: Readable, sha256: string, mismatch: () => Error): Readable {
  const hash = createHash('sha256')
  let held: Buffer | undefined
  const verified = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      const ready = held
      held = chunk
      done(null, ready)
    },
    flush(done) {
      if (hash.digest('hex') === sha256) done(null, held)
      else done(mismatch())
    },
  })
  // Each end takes the other down with it; whoever reads hears of the error.
  pipeline(source, verified, () => {})
  return verified
}
