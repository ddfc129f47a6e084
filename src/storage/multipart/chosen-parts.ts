import type { Checksums, KeptPart } from '../../database/queries/multipart-parts.ts'
import { StorageError } from '../../model/errors.ts'

/** As of S3: of each part but the last one. In bytes. */
export const SMALLEST_PART = 5 * 1024 * 1024

/** A part as a client names it to complete an upload. */
export interface NamedPart {
  number: number
  /** With or without its quotes. */
  etag: string
  /** Those that it must have. */
  checksums?: Checksums
}

/**
 * The parts of which a version is to be made.
 *
 * @param kept all that there are, in their order
 * @param named none stands for all (wire §6.3)
 * @throws InvalidPart, InvalidPartOrder, EntityTooSmall
 */
export function chooseParts(kept: KeptPart[], named: NamedPart[]): KeptPart[] {
  if (kept.length === 0) {
    throw new StorageError('InvalidPart', { message: 'No part has been uploaded' })
  }
  const byNumber = new Map(kept.map((part) => [part.number, part]))
  let last = 0
  const chosen = named.map((wanted) => {
    if (wanted.number <= last) throw new StorageError('InvalidPartOrder')
    last = wanted.number
    const part = byNumber.get(wanted.number)
    if (!part || !isMeant(part, wanted)) {
      const message = `Part ${wanted.number} was not uploaded, or is not the one that is meant`
      throw new StorageError('InvalidPart', { message })
    }
    return part
  })
  const parts = chosen.length === 0 ? kept : chosen
  const small = parts.slice(0, -1).find(({ size }) => size < SMALLEST_PART)
  if (small) {
    const message = `Part ${small.number} has ${small.size} bytes: each but the last one must have 5 MiB`
    throw new StorageError('EntityTooSmall', { message })
  }
  return parts
}

function isMeant(part: KeptPart, { etag, checksums = {} }: NamedPart): boolean {
  if (unquoted(etag) !== unquoted(part.etag)) return false
  const known: Record<string, string> = part.checksums
  return Object.entries(checksums).every(([name, value]) => known[name] === value)
}

function unquoted(etag: string): string {
  return etag.replaceAll('"', '')
}
