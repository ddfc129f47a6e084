import { existsSync } from 'node:fs'
import { objectsFolder } from '../backend/local/folders.ts'
import type { Config } from '../config/config.ts'
import type { Database } from '../database/connection/client.ts'
import { countOwnObjects } from '../database/queries/sample-objects.ts'
import { StorageError } from '../model/errors.ts'

/**
 * Keeps a server from making the folder of the files anew while the database has objects that were in it: on a disk
 * that is not mounted, all would look well while every object is gone. To be called before the backend is opened.
 *
 * During a move the folder may be missing, since the bytes are where they were.
 *
 * @throws BackendUnavailable saying what is missing and what to do
 */
export async function refuseMissingFiles(config: Config, database: Database): Promise<void> {
  const folder = objectsFolder(config.dataDir)
  if (config.backend !== 'local' || config.backendPrevious !== undefined || existsSync(folder)) return
  const count = await countOwnObjects(database)
  if (count === 0) return
  const objects = count === 1 ? '1 object' : `${count} objects`
  throw new StorageError('BackendUnavailable', {
    message:
      `The database has ${objects}, but the folder ${folder} is missing: is its disk mounted? ` +
      'If the files are lost for good, make the folder and start again.',
  })
}
