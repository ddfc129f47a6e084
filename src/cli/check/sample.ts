import { existsSync } from 'node:fs'
import type { Backend } from '../../backend/backend.ts'
import { objectsFolder } from '../../backend/local/folders.ts'
import { openBackends, openExisting } from '../../backend/open.ts'
import type { ResumableBackend } from '../../backend/resumable-backend.ts'
import type { Config } from '../../config/config.ts'
import type { Database } from '../../database/connection/client.ts'
import { type OwnObject, sampleOwnObjects, stillThere } from '../../database/queries/sample-objects.ts'
import type { CheckResult } from '../../model/check-result.ts'
import { StorageError } from '../../model/errors.ts'
import { InlineBackend } from '../../storage/inline/inline-backend.ts'

const SAMPLE = 20

/** From this share on, it is not some objects that are damaged, but the place that is wrong. */
const TOO_MANY = 1 / 4

/**
 * Whether objects have their bytes where the settings say: what can be written and read may still be the wrong
 * bucket, prefix or disk. Nothing is said where there are no objects yet. Makes no folder.
 */
export async function* checkSample(database: Database, config: Config): AsyncGenerator<CheckResult> {
  const about = 'objects: sample'
  let backend: Backend | undefined
  try {
    // Those in the database would make a wrong disk look right.
    const outside = await sampleOwnObjects(database, 'backend', SAMPLE)
    const sample = outside.length > 0 ? outside : await sampleOwnObjects(database, 'database', SAMPLE)
    if (sample.length === 0) return
    backend = new InlineBackend(await openUnchanged(config), database)
    yield { about, ...judge(await countMissing(sample, database, backend), sample.length) }
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    yield { about, state: 'failed', says: error.message }
  } finally {
    await backend?.close()
  }
}

function judge(missing: number, of: number): Omit<CheckResult, 'about'> {
  if (missing === 0) return { state: 'ok', says: `${of} of ${of} have their bytes` }
  const says = `${missing} of ${of} objects have no bytes here`
  if (missing / of < TOO_MANY) {
    return { state: 'warning', says: `${says}: \`strongroom cleanup --dry-run\` counts all such` }
  }
  const causes =
    'wrong bucket, prefix or folder (settings), or a move that is not done (STORAGE_BACKEND_PREVIOUS)'
  return { state: 'failed', says: `${says}: ${causes}?` }
}

async function countMissing(sample: OwnObject[], database: Database, backend: Backend): Promise<number> {
  const exist = await Promise.all(sample.map(({ location }) => backend.exists(location)))
  const missing = sample.filter((_, i) => !exist[i])
  // A server may have replaced or deleted some meanwhile.
  return missing.length === 0 ? 0 : stillThere(database, missing)
}

/** The backend of the settings, tried once. @throws BackendUnavailable where its folder would have to be made */
function openUnchanged(config: Config): Promise<ResumableBackend> {
  const { backend, backendPrevious, s3 } = config
  const once = { ...config, s3: s3 && { ...s3, attempts: 1 } }
  const isNew = backend === 'local' && !existsSync(objectsFolder(config.dataDir))
  if (backendPrevious === undefined) return openExisting(backend, once)
  // Before the first server of a move has made the folder, all bytes are where they were.
  return isNew ? openExisting(backendPrevious, once) : openBackends(once)
}
