import type { ChecksumAlgorithm } from '../../model/checksums.ts'
import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'

/** What is kept of a part, to be told, and to make a version of. */
export interface KeptPart {
  /** Another one for each part, also for one that has replaced another. */
  id: string
  number: number
  /** In bytes. */
  size: number
  /** With its quotes. */
  etag: string
  /** The backend's own. */
  notes: string
  /** 64 lower-case hexadecimal digits. */
  sha256: string
  /** As their clients have sent them, in base64. */
  checksums: Checksums
  createdAt: Date
}

export type Checksums = Partial<Record<ChecksumAlgorithm, string>>

export type NewPart = Omit<KeptPart, 'id' | 'createdAt'>

/** What has become of a part that was stored; `replaced` is the one of its number before. */
export type PartOutcome =
  | { outcome: 'kept'; replaced: { size: number; notes: string } | null }
  /** The upload has ended. */
  | { outcome: 'gone' }
  /** A version is being made of the upload's parts. */
  | { outcome: 'listed' }
  /** All together would be too many bytes. */
  | { outcome: 'large' }
  /** The unfinished uploads of its share would be too many bytes. */
  | { outcome: 'full' }

/** Notes that a part is stored. @param maxBytes of all together @param shareBytes of all unfinished uploads of its share */
export async function keepPart(
  database: Database,
  version: string,
  part: NewPart,
  bounds: { maxBytes: number; shareBytes: number; lifetimeMs: number },
): Promise<PartOutcome> {
  const checksums = JSON.stringify(part.checksums)
  const [row] = await database.run(KEEP, { ...part, ...bounds, version, checksums })
  const { outcome = 'gone', replaced_size: size = null, replaced_notes: notes = null } = row ?? {}
  if (outcome !== 'kept') return { outcome }
  return { outcome, replaced: notes === null ? null : { size: Number(size), notes } }
}

const KEEP = new Statement<
  Omit<NewPart, 'checksums'> & {
    version: string
    checksums: string
    maxBytes: number
    shareBytes: number
    lifetimeMs: number
  },
  { outcome: PartOutcome['outcome']; replaced_size: string | null; replaced_notes: string | null }
>(`
  select * from storage.keep_part(:version, :number, :size, :etag, :notes, :sha256, :checksums, :maxBytes,
    :shareBytes, :lifetimeMs)`)

/** An upload's parts in their order, after a number, at most `limit`. */
export async function partsOf(
  database: Database,
  version: string,
  after: number,
  limit: number,
): Promise<KeptPart[]> {
  const rows = await database.run(PARTS, { version, after, limit })
  return rows.map((row) => ({
    ...row,
    size: Number(row.size),
    checksums: row.checksums ?? {},
    createdAt: new Date(row.created_at),
  }))
}

const PARTS = new Statement<
  { version: string; after: number; limit: number },
  Omit<KeptPart, 'size' | 'checksums' | 'createdAt'> & {
    size: string
    checksums: Checksums | null
    created_at: string
  }
>('select * from storage.parts_of(:version, :after, :limit)')

/**
 * Says of which parts a version will be made: from here on they are what they are, and the others are forgotten.
 *
 * @param list names these parts in this order
 * @returns false when one of them is not there any more, others were named before, or another request has the upload
 */
export async function listParts(
  database: Database,
  version: string,
  attempt: number,
  parts: KeptPart[],
  list: string,
): Promise<boolean> {
  const [row] = await database.run(LIST, { version, attempt, parts: parts.map(({ id }) => id), list })
  return row?.listed ?? false
}

const LIST = new Statement<
  { version: string; attempt: number; parts: string[]; list: string },
  { listed: boolean }
>('select storage.list_parts(:version, :attempt, :parts::uuid[], :list) as listed')

/** Gives a number back that was claimed, and that nobody has used. */
export async function unclaimPart(database: Database, version: string, number: number): Promise<void> {
  await database.run(UNCLAIM, { version, number })
}

const UNCLAIM = new Statement<{ version: string; number: number }, object>(
  'select storage.unclaim_part(:version, :number)',
)
