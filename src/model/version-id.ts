/** Which one of a name: its id, S3's null version, its number, or what was there at a moment. Undefined: what is there now. */
export type WantedVersion = { id: string } | { null: true } | { number: number } | { at: Date }

/** Where a version stands among those of its name. */
export interface Versioning {
  /** Whether it was written while versions were on; if not, S3 calls it `null`. */
  isVersioned: boolean
  /** Null while it is the current one. */
  archivedAt: Date | null
  isLatest: boolean
  /** From 1 on, in the order of changes. */
  number: number
}

/** What S3 calls a version that was written while versions were off. */
export const NULL_VERSION = 'null'

/** What S3 calls a version of a bucket that keeps them. */
export function versionId(version: string | null, isVersioned: boolean | null | undefined): string {
  return isVersioned && version !== null ? version : NULL_VERSION
}
