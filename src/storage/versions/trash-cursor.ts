import { z } from 'zod'
import type { TrashPlace } from '../../database/queries/trash.ts'
import { parseJson } from '../../lib/bounded-json.ts'
import { StorageError } from '../../model/errors.ts'
import type { SecretSeal } from '../credentials/secret-seal.ts'
import { isStorableText } from '../object/object-name.ts'

/*
 * Where a page of the trash has ended, which may be at what the caller may not see: so it is sealed, unlike that of lists
 * (storage/object/list-cursor.ts). Nobody reads a name in it, and nobody asks what comes behind a place of his own making.
 */

const text = z.string().refine(isStorableText)

const placeSchema = z.tuple([text, text, z.string().regex(/^\d{1,18}$/)])

/** In characters: the longest names with every character escaped still fit. */
const MAX_LENGTH = 40_000

/** No access key is called so. */
const SEALED_FOR = 'a place in the trash'

/** In characters: of a name not even its length is told. */
const PADDED_TO = 256

export function encodePlace(seal: SecretSeal, { bucket, name, sequence }: TrashPlace): string {
  const place = JSON.stringify([bucket, name, sequence])
  return seal.seal(SEALED_FOR, place.padEnd(Math.ceil(place.length / PADDED_TO) * PADDED_TO))
}

/** @throws InvalidParameter for anything that `encodePlace` has not made, or not with these secrets */
export function decodePlace(seal: SecretSeal, cursor: string): TrashPlace {
  try {
    if (cursor.length > MAX_LENGTH) throw new Error('too long')
    const [bucket, name, sequence] = placeSchema.parse(parseJson(seal.open(SEALED_FOR, cursor) ?? ''))
    return { bucket, name, sequence }
  } catch (cause) {
    throw new StorageError('InvalidParameter', { message: 'The cursor is not valid', cause })
  }
}
