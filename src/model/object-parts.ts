import type { ByteRange } from './location.ts'

/** The parts that an object came in, as its row keeps them. */
export interface ObjectParts {
  /**
   * Their lengths in bytes: runs of equal ones, each as how many and how long. Clients make all parts but the last
   * equally long, so that ten thousand of them are two runs.
   */
  sizes: [count: number, size: number][]
  /** Their checksums, one behind the other, in base64; by the algorithm of the object's own. */
  checksums?: string
}

export interface ObjectPart {
  /** From 1, in their order; not the client's number, which may leave some out. */
  number: number
  /** Its first byte, counted from 0. */
  start: number
  /** In bytes. */
  size: number
  /** Base64; null when it is not known. */
  checksum: string | null
}

/** As many as S3 knows (wire §14). */
export const MOST_PARTS = 10_000

/** Of base64, in characters. Lists carry what a row says, a thousand rows at a time. */
const MAX_CHECKSUMS = 4096

/**
 * What a row keeps of parts: the checksums only if all have one, and they are not too many.
 *
 * @param parts in their order, at least one; checksums in base64
 */
export function objectParts(parts: readonly { size: number; checksum?: string | undefined }[]): ObjectParts {
  const sizes: ObjectParts['sizes'] = []
  for (const { size } of parts) {
    const last = sizes.at(-1)
    if (last?.[1] === size) last[0]++
    else sizes.push([1, size])
  }
  const digests = parts.map(({ checksum }) => Buffer.from(checksum ?? '', 'base64'))
  const checksums = Buffer.concat(digests).toString('base64')
  const areKept = checksums.length <= MAX_CHECKSUMS && digests.every(({ length }) => length > 0)
  return { sizes, ...(areKept && { checksums }) }
}

/**
 * Reads them from a row's metadata, in which plain SQL may have put anything; null for what is none.
 *
 * @param total bytes of the object
 */
export function storedParts(value: unknown, total: number | null): ObjectParts | null {
  if (typeof value !== 'object' || value === null) return null
  const { sizes, checksums } = value as Partial<Record<keyof ObjectParts, unknown>>
  if (!Array.isArray(sizes) || sizes.length > MOST_PARTS || !sizes.every(isRun)) return null
  const count = sizes.reduce((sum, run) => sum + run[0], 0)
  const bytes = sizes.reduce((sum, run) => sum + run[0] * run[1], 0)
  if (count === 0 || count > MOST_PARTS || bytes !== total) return null
  const areKnown = typeof checksums === 'string' && checksums.length <= MAX_CHECKSUMS
  return { sizes, ...(areKnown && { checksums }) }
}

function isRun(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 && value[0] > 0 && value.every(isCount)
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function countParts({ sizes }: ObjectParts): number {
  return sizes.reduce((count, run) => count + run[0], 0)
}

/** The parts behind number `after`, in their order. */
export function* eachPart(parts: ObjectParts, after = 0): Generator<ObjectPart> {
  const checksums = Buffer.from(parts.checksums ?? '', 'base64')
  const digest = checksums.length / countParts(parts)
  const checksumOf = (number: number) =>
    digest > 0 && Number.isInteger(digest)
      ? checksums.subarray((number - 1) * digest, number * digest).toString('base64')
      : null
  let number = 0
  let start = 0
  for (const [count, size] of parts.sizes) {
    const skipped = Math.min(count, Math.max(0, after - number))
    number += skipped
    start += skipped * size
    for (let left = count - skipped; left > 0; left--) {
      number++
      yield { number, start, size, checksum: checksumOf(number) }
      start += size
    }
  }
}

/** @param number from 1 @returns null when there are not so many */
export function partAt(parts: ObjectParts, number: number): ObjectPart | null {
  const [part] = eachPart(parts, number - 1)
  return part ?? null
}

/** Null for a part without bytes. */
export function rangeOf({ start, size }: ObjectPart): ByteRange | null {
  return size === 0 ? null : { start, end: start + size - 1 }
}
