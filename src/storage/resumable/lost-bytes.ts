import type { Logger } from 'pino'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'

/** Works with what has come of an upload. The client can only begin anew when bytes are gone that had arrived. @throws UploadGone */
export async function unlessLost<T>(
  logger: Logger,
  { version }: Location,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!hasCode(error, 'MissingBytes')) throw error
    logger.error({ err: error, version }, 'drift: an unfinished upload has lost its bytes')
    throw new StorageError('UploadGone', { cause: error })
  }
}
