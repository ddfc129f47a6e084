import type { Part } from '../../resumable-backend.ts'

/** Bytes of a part: from `start` on, before `end`. */
export interface Slice {
  part: Part
  start: number
  end: number
}

/** One part of a multipart upload. A single slice is copied by the store; several are gathered, and sent. */
export type Piece = Slice[]

/**
 * How to make one multipart upload of parts of any length: its own parts, in their order. Each but the last has at least
 * `least` bytes; what is gathered has no more than those, and what is copied at once no more than `most`. As much as
 * possible is copied: gathered are only parts that are too small, each with the beginning of the next.
 *
 * There are no more pieces than parts, and one more for each `most` bytes.
 *
 * @param limits in bytes; `most` is at least twice `least`
 */
export function* planPieces(
  parts: Part[],
  { least, most }: { least: number; most: number },
): Generator<Piece> {
  let small: Slice[] = []
  let missing = 0 // for `small` to be enough, when there are any
  for (const part of parts) {
    let start = 0
    if (small.length > 0) {
      start = Math.min(part.size, missing)
      if (start > 0) small.push({ part, start: 0, end: start })
      missing -= start
      if (missing > 0) continue
      yield small
      small = []
    }
    const rest = part.size - start
    if (rest >= least) yield* copies(part, start, most)
    else if (rest > 0) {
      small = [{ part, start, end: part.size }]
      missing = least - rest
    }
  }
  if (small.length > 0) yield small
}

/** The bytes of a part from `start` on, in pieces of about the same length. */
function* copies(part: Part, start: number, most: number): Generator<Piece> {
  const rest = part.size - start
  const length = Math.ceil(rest / Math.ceil(rest / most))
  for (let from = start; from < part.size; from += length) {
    yield [{ part, start: from, end: Math.min(from + length, part.size) }]
  }
}
