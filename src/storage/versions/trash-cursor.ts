import { z } from 'zod'
import type { TrashPlace } from '../../database/queries/trash.ts'
import { parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'
import type { SecretSeal } from '../credentials/secret-seal.ts'
import { isStorableText } from '../object/object-name.ts'
import { openCursor, sealCursor } from './sealed-cursor.ts'

/*
 * Where a page of the trash has ended, which may be at what the caller may not see: so it is sealed always, unlike that of lists
 * (storage/object/list-cursor.ts), and nobody asks what comes behind a place of his own making.
 */

const text = z.string().refine(isStorableText)

const placeSchema = z.tuple([text, text, z.string().regex(/^\d{1,18}$/)])

/** In characters: the longest names with every character escaped still fit. */
const MAX_LENGTH = 40_000

const SEALED_FOR = 'a place in the trash'

export function encodePlace(seal: SecretSeal, { bucket, name, sequence }: TrashPlace): string {
  return sealCursor(seal, SEALED_FOR, JSON.stringify([bucket, name, sequence]))
}

/** @throws InvalidParameter for anything that `encodePlace` has not made, or not with these secrets */
export function decodePlace(seal: SecretSeal, cursor: string): TrashPlace {
  try {
    if (cursor.length > MAX_LENGTH) throw new Error('too long')
    const [bucket, name, sequence] = placeSchema.parse(parseJson(openCursor(seal, SEALED_FOR, cursor) ?? ''))
    return { bucket, name, sequence }
  } catch (cause) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid', cause })
  }
}
