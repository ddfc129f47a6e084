import { createHash } from 'node:crypto'
import type { Database } from '../../database/connection/client.ts'
import { type Checksums, type KeptPart, listParts, partsOf } from '../../database/queries/multipart-parts.ts'
import { StorageError } from '../../model/errors.ts'

/** As of S3: of each part but the last one. In bytes. */
export const SMALLEST_PART = 5 * 1024 * 1024

/** How many parts are asked for at once. */
const PAGE = 1000

/** So often a part may be replaced between its choice and the word that it stays. */
const MOST_TRIES = 5

/** A part as a client names it to complete an upload. */
export interface NamedPart {
  number: number
  /** With or without its quotes. */
  etag: string
  /** Those that it must have. */
  checksums?: Checksums
}

/**
 * Chooses the parts of which a version will be made, and says which they are: from here on they stay.
 *
 * @param check agrees first, or throws
 * @throws as `chooseParts`, and TransactionConflict
 */
export async function settleParts(
  database: Database,
  { version, attempt, named }: { version: string; attempt: number; named: NamedPart[] },
  check: (parts: KeptPart[]) => void,
): Promise<KeptPart[]> {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const parts = chooseParts(await allParts(database, version), named)
    check(parts)
    const list = createHash('sha256')
      .update(parts.map(({ id }) => id).join())
      .digest('base64url')
    if (await listParts(database, version, attempt, parts, list)) return parts
  }
  throw new StorageError('TransactionConflict')
}

async function allParts(database: Database, version: string): Promise<KeptPart[]> {
  const parts: KeptPart[] = []
  for (let page: KeptPart[]; ; parts.push(...page)) {
    page = await partsOf(database, version, parts.at(-1)?.number ?? 0, PAGE)
    if (page.length < PAGE) return [...parts, ...page]
  }
}

/**
 * The parts of which a version is to be made.
 *
 * @param kept all that there are, in their order
 * @param named none stands for all (wire §6.3)
 * @throws InvalidPart, InvalidPartOrder, EntityTooSmall
 */
function chooseParts(kept: KeptPart[], named: NamedPart[]): KeptPart[] {
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
