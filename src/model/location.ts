/** The address of one version's bytes. Both are UUIDs in lower case; no user text ever gets here. */
export interface Location {
  bucket: string
  version: string
}

/** In the place of a bucket: the bytes are in the database (decision 0052). No bucket has this UUID. */
export const INLINE_BUCKET = '00000000-0000-0000-0000-000000000000'

export function isInline({ bucket }: Pick<Location, 'bucket'>): boolean {
  return bucket === INLINE_BUCKET
}

/** Both ends counted from 0 and inclusive, as in RFC 9110 §14.1.2. */
export interface ByteRange {
  start: number
  end: number
}
