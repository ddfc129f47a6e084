/** The address of one version's bytes. Both are UUIDs in lower case; no user text ever gets here. */
export interface Location {
  bucket: string
  version: string
}

/** Both ends counted from 0 and inclusive, as in RFC 9110 §14.1.2. */
export interface ByteRange {
  start: number
  end: number
}
