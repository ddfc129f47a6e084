import { pipeline, type Readable, Transform } from 'node:stream'
import { compareWith, type ExpectedBytes } from './expected-bytes.ts'

/**
 * `source`, unless its bytes turn out to be others than expected: then the stream breaks before its last chunk,
 * so that a reader who counts never takes the damaged bytes for complete.
 *
 * @param mismatch makes the error that the stream breaks with
 */
export function verifiedStream(source: Readable, expected: ExpectedBytes, mismatch: () => Error): Readable {
  const comparison = compareWith(expected)
  let held: Buffer | undefined
  const verified = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      comparison.update(chunk)
      const ready = held
      held = chunk
      done(null, ready)
    },
    flush(done) {
      if (comparison.holds()) done(null, held)
      else done(mismatch())
    },
  })
  // Each end takes the other down with it; whoever reads hears of the error.
  pipeline(source, verified, () => {})
  return verified
}
