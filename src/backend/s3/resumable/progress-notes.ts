import { z } from 'zod'
import { UUID } from '../../../lib/uuid.ts'
import { StorageError } from '../../../model/errors.ts'
import type { Progress } from '../../resumable-backend.ts'
import type { IncompletePart } from './incomplete-parts.ts'

/** Where the bytes are of a version that arrives in chunks. */
export interface ProgressNotes {
  /** Of the multipart upload; null while there is none. */
  uploadId: string | null
  /** It has the version's first bytes as its parts 1 to this one. */
  parts: number
  /** The bytes after those; null when there are none. Kept under its first name, in notes and in keys. */
  tail: IncompletePart | null
  /** The id of the one before it, which nobody needs once these notes are kept. */
  staleTail: string | null
  /** Whether all bytes are at the version's key already, and nowhere else. */
  isWhole: boolean
}

export const NO_NOTES: ProgressNotes = {
  uploadId: null,
  parts: 0,
  tail: null,
  staleTail: null,
  isWhole: false,
}

const uuid = z.string().regex(UUID)
const count = z.int().nonnegative()
const schema = z.strictObject({
  uploadId: z.string().nullable(),
  parts: count,
  tail: z.strictObject({ id: uuid, size: count }).nullable(),
  staleTail: uuid.nullable(),
  isWhole: z.boolean(),
})

export function progressOf(offset: number, notes: ProgressNotes): Progress {
  return { offset, notes: JSON.stringify(notes) }
}

/** @throws MissingBytes when this backend has not noted them: the bytes are in another one, if anywhere */
export function notesOf({ offset, notes }: Progress): ProgressNotes {
  if (notes === null && offset === 0) return NO_NOTES
  const parsed = schema.safeParse(fromJson(notes ?? ''))
  if (!parsed.success) throw new StorageError('MissingBytes', { cause: parsed.error })
  const { uploadId, tail, isWhole } = parsed.data
  const inParts = offset - (tail?.size ?? 0)
  if (inParts < 0 || (uploadId === null && !isWhole && inParts > 0)) throw new StorageError('MissingBytes')
  return parsed.data
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
