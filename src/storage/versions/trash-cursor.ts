import { z } from 'zod'
import type { TrashPlace } from '../../database/queries/trash.ts'
import { parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'
import { isStorableText } from '../object/object-name.ts'

/*
 * Where a page of the trash has ended: base64url of JSON, opaque to clients, and not signed, as that of lists
 * (storage/object/list-cursor.ts).
 */

const text = z.string().refine(isStorableText)

const placeSchema = z.tuple([text, text, z.string().regex(/^\d{1,18}$/)])

/** In characters: the longest names with every character escaped still fit. */
const MAX_LENGTH = 40_000

export function encodePlace({ bucket, name, sequence }: TrashPlace): string {
  return Buffer.from(JSON.stringify([bucket, name, sequence])).toString('base64url')
}

/** @throws InvalidParameter for anything that `encodePlace` cannot have made */
export function decodePlace(cursor: string): TrashPlace {
  try {
    if (cursor.length > MAX_LENGTH) throw new Error('too long')
    const [bucket, name, sequence] = placeSchema.parse(parseJson(Buffer.from(cursor, 'base64url').toString()))
    return { bucket, name, sequence }
  } catch (cause) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid', cause })
  }
}
