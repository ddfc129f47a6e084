import { StorageError } from './errors.ts'

/**
 * What a write demands of what is there when it is carried out (RFC 9110 §13.1). Of plain JSON, so that an upload in
 * chunks can remember it.
 */
export interface WriteCondition {
  /** Strong entity tags of which it has one; `*`: it is there. */
  ifMatch?: Tags | undefined
  /** In milliseconds since 1970, a whole second. Means nothing beside `ifMatch`. */
  unmodifiedSince?: number | undefined
  /** Entity tags of which it has none; `*`: it is not there. */
  ifNoneMatch?: Tags | undefined
  /** The very version that it has, null when it is not there: for writes of ours, which have seen it. */
  isVersion?: string | null | undefined
}

/** What identifies the bytes, or the settings, that a read would send now. */
export interface Validators {
  /** A strong entity tag with its quotes (RFC 9110 §8.8.3). */
  etag: string
  lastModified: Date
  /** Of an object. */
  version?: string | null
}

export type Tags = '*' | string[]

/**
 * Whether a write may go on, in the order of precedence of RFC 9110 §13.2.2, whose steps the numbers are.
 *
 * @param current null when nothing is there
 */
export function holds(condition: WriteCondition, current: Validators | null): boolean {
  const { ifMatch, unmodifiedSince, ifNoneMatch, isVersion } = condition
  if (isVersion !== undefined && isVersion !== (current && (current.version ?? ''))) return false
  // 1. If-Match.
  if (ifMatch !== undefined) {
    if (!isAmong(current, ifMatch)) return false
  } else if (unmodifiedSince !== undefined && current) {
    // 2. Only without it, If-Unmodified-Since, which is ignored where there is no date (RFC 9110 §13.1.4) and counts
    // whole seconds.
    if (current.lastModified.getTime() >= unmodifiedSince + 1000) return false
  }
  // 3. If-None-Match.
  return ifNoneMatch === undefined || !isAmong(current, ifNoneMatch)
}

/** @throws PreconditionFailed */
export function demand(condition: WriteCondition | undefined, current: Validators | null): void {
  if (condition && !holds(condition, current)) throw new StorageError('PreconditionFailed')
}

/** Our own tags are strong, so a weak one never equals them: who compares weakly has taken the `W/` off. */
function isAmong(current: Validators | null, tags: Tags): boolean {
  return current !== null && (tags === '*' || tags.includes(current.etag))
}
