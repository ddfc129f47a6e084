import type { Logger } from 'pino'
import type { Database } from '../../database/connection/client.ts'
import { setQuarantine } from '../../database/queries/objects-to-check.ts'
import type { StoredObject } from '../object/stored-object.ts'

export interface Reporting {
  database: Database
  logger: Logger
}

/**
 * Tells the operator that an object's bytes are not those that were uploaded, and marks it, so that nobody is sent
 * them any more. Returns at once; the reader does not wait for it.
 */
export function reportCorrupted(
  { database, logger }: Reporting,
  { id, bucket, name, version, location }: StoredObject,
): void {
  const about = { bucket, path: name, version }
  logger.error(about, 'the stored bytes differ from those that were uploaded')
  if (location === null) return
  setQuarantine(database, { id, location }, 'corrupted').catch((error: unknown) => {
    logger.warn(
      { ...about, err: error },
      'a corrupted object could not be marked; the scrub will find it again',
    )
  })
}
