import type { Logger } from 'pino'
import type { ResumableBackend } from '../../backend/resumable-backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { forgetRemovals } from '../../database/queries/listed-versions.ts'
import { terminateResumableUpload } from '../../database/queries/resumable-uploads.ts'
import type { Location } from '../../model/location.ts'

interface Parts {
  database: Database
  backend: ResumableBackend
  logger: Logger
}

/**
 * Ends an upload that will never be an object, and removes its bytes. What fails of that is left to the cleanup.
 *
 * @param attempt of the request that has it
 * @returns false when another request has it by now
 */
export async function discardUpload(
  { database, backend, logger }: Parts,
  at: Location,
  attempt: number,
): Promise<boolean> {
  if (!(await terminateResumableUpload(database, at.version, attempt))) return false
  try {
    await backend.discard(at)
    await forgetRemovals(database, [at.version])
  } catch (error) {
    logger.warn({ err: error, version: at.version }, 'the bytes of an ended upload are left to the cleanup')
  }
  return true
}
