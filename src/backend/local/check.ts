import { existsSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import type { CheckResult } from '../../model/check-result.ts'
import { StorageError } from '../../model/errors.ts'
import { objectsFolder } from './folders.ts'
import { LocalBackend } from './local-backend.ts'

/** Below this little is left for uploads. In bytes. */
const LITTLE_SPACE = 1e9

/**
 * Whether files can be written, read and removed. Makes no folder.
 *
 * @param root the data folder
 * @param mayBeNew whether no server can have stored anything here yet
 */
export async function* checkLocal(root: string, mayBeNew: boolean): AsyncGenerator<CheckResult> {
  const about = 'files'
  const folder = objectsFolder(root)
  if (!existsSync(folder)) {
    if (mayBeNew) {
      yield { about, state: 'ok', says: `none yet; the first start makes ${folder}` }
      return
    }
    const says = `There is no ${folder}: is its disk mounted, and STORAGE_DATA_DIR right?`
    yield { about, state: 'failed', says }
    return
  }
  try {
    const backend = new LocalBackend({ root, fsync: false })
    await backend.check()
    await backend.close()
    const { bavail, bsize } = await statfs(folder)
    const free = bavail * bsize
    const says = `${folder} can be written and read; ${(free / 1e9).toFixed(1)} GB are free`
    yield { about, state: free < LITTLE_SPACE ? 'warning' : 'ok', says }
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
    yield { about, state: 'failed', says: `${error.message}: ${folder} (STORAGE_DATA_DIR)` }
  }
}
