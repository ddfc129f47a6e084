/**
 * How PostgreSQL names the files of its write-ahead log: timeline and number of the segment, in hexadecimal digits
 * (src/include/access/xlog_internal.h). A position in the log is written `16/B374D848` and counts bytes since the first.
 */

/** A segment, as in pg_wal. */
export const SEGMENT = /^[0-9A-F]{24}$/

/** Where a timeline has left another one. */
export const HISTORY = /^[0-9A-F]{8}\.history$/

/** How large each is in our clusters, as initdb has it. In bytes. */
export const SEGMENT_BYTES = 16 * 1024 * 1024

/** Bytes that the last eight digits of a name, and the offset in a position, count through. */
const BYTES_OF_A_LOG = 2n ** 32n

/** A position as a number. */
export function parsePosition(text: string): bigint {
  const [log = '', offset = ''] = text.split('/')
  return BigInt(`0x${log}`) * BYTES_OF_A_LOG + BigInt(`0x${offset}`)
}

/**
 * The segments that hold the log from one position to another, in order.
 *
 * @param from the first byte's
 * @param to that after the last byte
 * @param segmentBytes how large each is, in bytes
 */
export function segmentsBetween(from: string, to: string, timeline: number, segmentBytes: number): string[] {
  const size = BigInt(segmentBytes)
  const names: string[] = []
  for (let number = parsePosition(from) / size; number * size < parsePosition(to); number++) {
    const perLog = BYTES_OF_A_LOG / size
    names.push([BigInt(timeline), number / perLog, number % perLog].map(eightDigits).join(''))
  }
  return names
}

/** The position behind a segment. */
export function endOf(segment: string, segmentBytes: number): bigint {
  const [log, number] = [segment.slice(8, 16), segment.slice(16)].map((digits) => BigInt(`0x${digits}`))
  return (log ?? 0n) * BYTES_OF_A_LOG + ((number ?? 0n) + 1n) * BigInt(segmentBytes)
}

/** Of a segment or a history, counted from 1. */
export function timelineOf(name: string): number {
  return Number.parseInt(name.slice(0, 8), 16)
}

/** The file that says where a timeline and those before it have left others. The first has none. */
export function historyOf(timeline: number): string {
  return `${eightDigits(BigInt(timeline))}.history`
}

/** Where each timeline was left that is in a history, by its number. */
export function parseHistory(text: string): Map<number, bigint> {
  const lines = text.matchAll(/^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)/gim)
  return new Map(
    Array.from(lines, ([, timeline, position = '']) => [Number(timeline), parsePosition(position)]),
  )
}

function eightDigits(number: bigint): string {
  return number.toString(16).toUpperCase().padStart(8, '0')
}
