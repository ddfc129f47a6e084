import { createHash } from 'node:crypto'
import { Crc32, Crc32c, Crc64Nvme } from '../lib/crc.ts'

/** Digests by which S3 clients check what they have sent and what they get (wire §14). */
export const CHECKSUM_ALGORITHMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const
export type ChecksumAlgorithm = (typeof CHECKSUM_ALGORITHMS)[number]

/** Of all bytes, or of the checksums of the parts that they came in. */
export type ChecksumType = 'FULL_OBJECT' | 'COMPOSITE'

export interface Checksum {
  algorithm: ChecksumAlgorithm
  type: ChecksumType
  /** Base64; a composite one ends with the number of its parts, as in `xg2u0Q==-3`. */
  value: string
}

/** A part of an object, by its own checksum. */
export interface CheckedPart {
  /** Base64. */
  value: string
  /** In bytes. */
  size: number
}

/** Takes bytes as they pass. */
export interface RunningDigest {
  update(bytes: Uint8Array): unknown
  digest(): Buffer
}

interface Kind {
  /** Of a digest, in bytes. */
  size: number
  begin(): RunningDigest
  /** What it can say of an object that came in parts, first the usual. */
  types: [usual: ChecksumType, ...others: ChecksumType[]]
  /** That of all bytes from those of the pieces, for what is no hash. */
  combine?(pieces: Iterable<{ crc: Buffer; length: number }>): Buffer
}

const KINDS: Record<ChecksumAlgorithm, Kind> = {
  CRC32: {
    size: 4,
    begin: () => new Crc32(),
    types: ['COMPOSITE', 'FULL_OBJECT'],
    combine: Crc32.combine,
  },
  CRC32C: {
    size: 4,
    begin: () => new Crc32c(),
    types: ['COMPOSITE', 'FULL_OBJECT'],
    combine: Crc32c.combine,
  },
  CRC64NVME: {
    size: 8,
    begin: () => new Crc64Nvme(),
    types: ['FULL_OBJECT'],
    combine: Crc64Nvme.combine,
  },
  SHA1: { size: 20, begin: () => createHash('sha1'), types: ['COMPOSITE'] },
  SHA256: { size: 32, begin: () => createHash('sha256'), types: ['COMPOSITE'] },
}

export function isChecksumAlgorithm(text: unknown): text is ChecksumAlgorithm {
  return (CHECKSUM_ALGORITHMS as readonly unknown[]).includes(text)
}

export function beginChecksum(algorithm: ChecksumAlgorithm): RunningDigest {
  return KINDS[algorithm].begin()
}

/** Whether it can be one: base64 of as many bytes as it has, spelled as an encoder spells it. */
export function isChecksumValue(algorithm: ChecksumAlgorithm, text: string): boolean {
  return isBase64Of(text, KINDS[algorithm].size)
}

/** A digest as checksums are told, of its hexadecimal digits. */
export function base64OfHex(hex: string): string {
  return Buffer.from(hex, 'hex').toString('base64')
}

export function isBase64Of(text: string, bytes: number): boolean {
  if (text.length !== 4 * Math.ceil(bytes / 3)) return false
  const decoded = Buffer.from(text, 'base64')
  return decoded.length === bytes && decoded.toString('base64') === text
}

/** What this algorithm can say of an object that comes in parts, first what it says unless it is told otherwise. */
export function typesInParts(algorithm: ChecksumAlgorithm): readonly [ChecksumType, ...ChecksumType[]] {
  return KINDS[algorithm].types
}

/**
 * That of an object, from those of its parts: no byte is read again.
 *
 * @param parts in their order, at least one
 */
export function checksumOfParts(
  algorithm: ChecksumAlgorithm,
  type: ChecksumType,
  parts: readonly CheckedPart[],
): Checksum {
  const { begin, combine } = KINDS[algorithm]
  if (type === 'COMPOSITE') {
    const all = begin()
    for (const { value } of parts) all.update(Buffer.from(value, 'base64'))
    return { algorithm, type, value: `${all.digest().toString('base64')}-${parts.length}` }
  }
  if (!combine) throw new Error(`${algorithm} of parts says nothing of all their bytes`)
  const pieces = parts.map(({ value, size }) => ({ crc: Buffer.from(value, 'base64'), length: size }))
  return { algorithm, type, value: combine(pieces).toString('base64') }
}

/** Reads one from a row's metadata, in which plain SQL may have put anything; null for what is none. */
export function storedChecksum(value: unknown): Checksum | null {
  if (typeof value !== 'object' || value === null) return null
  const { algorithm, type, value: text } = value as Partial<Record<keyof Checksum, unknown>>
  if (!isChecksumAlgorithm(algorithm) || typeof text !== 'string') return null
  if (type !== 'FULL_OBJECT' && type !== 'COMPOSITE') return null
  const [, digest, parts] = /^(.*?)(-[1-9]\d{0,4})?$/.exec(text) ?? []
  const isWhole = digest !== undefined && isChecksumValue(algorithm, digest)
  return isWhole && (parts !== undefined) === (type === 'COMPOSITE') ? { algorithm, type, value: text } : null
}

/**
 * ETag of what did not come by S3, with its quotes: the same bytes have the same one wherever they are, for ever. S3
 * clients take digits alone for an MD5, and whatever has a hyphen for none (decision 0049).
 *
 * @param sha256 hexadecimal
 */
export function sha256Etag(sha256: string): string {
  return `"sha256-${Buffer.from(sha256, 'hex').toString('base64url')}"`
}

/** ETag of bytes, with its quotes, as S3 clients check it. @param md5 of all of them */
export function md5Etag(md5: Buffer): string {
  return `"${md5.toString('hex')}"`
}

/** The same of an object that came in parts. @param md5s of each, in their order */
export function md5EtagOfParts(md5s: readonly Buffer[]): string {
  const all = createHash('md5')
  for (const md5 of md5s) all.update(md5)
  return `"${all.digest('hex')}-${md5s.length}"`
}
