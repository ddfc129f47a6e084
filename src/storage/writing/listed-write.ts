import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { beginUpload, type IntendedWrite } from '../../database/queries/trial-writes.ts'
import type { Caller } from '../../model/caller.ts'
import type { Location } from '../../model/location.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import { abortUpload, type CommitParts } from './commit.ts'
import { asConditionSays } from './conditional-write.ts'
import type { Heartbeats } from './heartbeats.ts'

export interface ListedWriteParts extends Pick<CommitParts, 'database' | 'logger'> {
  backend: Backend
  heartbeats: Heartbeats
}

/**
 * Asks the policies, and puts the version on the list of those being written.
 *
 * @param at where its bytes will be; null only asks
 * @throws as `beginUpload`, and PreconditionFailed
 */
export function beginWrite(
  database: Database,
  caller: Caller,
  write: IntendedWrite,
  at: Location | null,
  condition: WriteCondition | undefined,
): Promise<void> {
  return asConditionSays(beginUpload(database, caller, write, at), { database, caller, write, condition })
}

/** Writes a version that is on that list. @throws what `write` throws; nothing is left of it then */
export async function whileListed<T>(
  parts: ListedWriteParts,
  at: Location,
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await parts.heartbeats.during(at.version, write)
  } catch (error) {
    // 7. If the process died instead, the cleanup finds the version on the list.
    await abortUpload(parts, at, error, { wasListed: true })
    throw error
  }
}
