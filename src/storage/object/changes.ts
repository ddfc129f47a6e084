import { isCertainlyRolledBack } from '../../database/connection/postgres-error.ts'
import { hasCode } from '../../model/errors.ts'

/** What a commit has changed: these objects of a bucket, or, by null, all of it; or any, where nobody knows the bucket. */
export interface Change {
  bucket: string | null
  names: string[] | null
}

/** Tells subscribers, and whatever keeps rows in memory. Once it resolves, no answer here is from before the change. */
export type Invalidate = (changes: Change[]) => Promise<void>

/**
 * Does what commits changes, and tells of them before anybody hears that it is done; or that nobody knows. Also before
 * anybody hears that there is nothing to change: another server may have taken it away a moment ago, and who has deleted
 * what was gone already must not find it here.
 */
export async function withInvalidation<T>(
  { invalidate }: { invalidate: Invalidate },
  changes: Change[],
  commit: () => Promise<T>,
): Promise<T> {
  try {
    const result = await commit()
    await invalidate(changes)
    return result
  } catch (error) {
    if (!isCertainlyRolledBack(error) || hasCode(error, 'NoSuchKey')) await invalidate(changes)
    throw error
  }
}
