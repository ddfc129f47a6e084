import type { DeletedRow } from '../../database/queries/delete-objects.ts'
import { hasCode, type StorageError } from '../../model/errors.ts'
import type { WantedVersion } from '../../model/version-id.ts'
import type { WriteCondition } from '../../model/write-condition.ts'
import { isOfTheRequest } from './bulk-removal.ts'

/** One version of a name, and what must hold of it. */
export interface ConditionalVersion {
  name: string
  version: WantedVersion
  condition: WriteCondition | undefined
}

/** What has become of a version: it is gone, or was not there, which is null, or is kept for a reason. */
export type RemovedVersion = DeletedRow | StorageError | null

/** Deletes versions by `remove`, one after the other, each as if it were alone. @returns of each, in its place */
export async function deleteEachVersion(
  versions: ConditionalVersion[],
  remove: (one: ConditionalVersion) => Promise<DeletedRow>,
): Promise<RemovedVersion[]> {
  const outcomes: RemovedVersion[] = []
  for (const one of versions) {
    const outcome = await remove(one).catch((error: unknown) => {
      if (hasCode(error, 'NoSuchVersion') || hasCode(error, 'InvalidKey')) return null
      if (!isOfTheRequest(error)) throw error
      return error
    })
    outcomes.push(outcome)
  }
  return outcomes
}
