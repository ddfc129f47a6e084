import { existsSync } from 'node:fs'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { flushPath } from '../../lib/fsync.ts'
import { makeFolders } from '../../lib/make-folders.ts'
import { BackupError } from './backup-error.ts'

/** A file in a data folder that a restore has begun to fill, and has not filled. No server starts there. */
const MARK = 'restoring.json'

const schema = z.object({
  /** What is being restored. */
  target: z.string(),
  backup: z.string(),
  /** The second to which the log goes on from it. */
  at: z.iso.datetime().optional(),
})

export type RestoringMark = z.infer<typeof schema>

/** What a server makes at its first start. */
const TAKEN = ['postgres', 'objects', 'keys.json']

/**
 * Makes a folder one that is being filled, unless it is that already, by the same restore.
 *
 * @returns whether it was that already
 * @throws UnusableTarget when there is anything else in it
 */
export async function markRestoring(dataDir: string, about: RestoringMark): Promise<boolean> {
  makeFolders(dataDir)
  const found = await findMark(dataDir)
  if (found !== null) {
    if (found.backup === about.backup && found.at === about.at) return true
    throw new BackupError('UnusableTarget', notEnded(dataDir, found))
  }
  const taken = TAKEN.find((name) => existsSync(join(dataDir, name)))
  if (taken !== undefined) {
    throw new BackupError(
      'UnusableTarget',
      `${dataDir} has a server's data already (${taken}): restore to another STORAGE_DATA_DIR, or single objects with --mode`,
    )
  }
  const path = join(dataDir, MARK)
  await writeFile(`${path}.new`, JSON.stringify(about), { flush: true, mode: 0o600 })
  await rename(`${path}.new`, path)
  await flushPath(dataDir)
  return false
}

/** The folder is filled, or is as it was: a server may start there. */
export async function unmarkRestoring(dataDir: string): Promise<void> {
  await rm(join(dataDir, MARK))
  await flushPath(dataDir)
}

/** @throws UnusableTarget where a restore has begun and not come to its end */
export async function refuseUnfinishedRestore(dataDir: string): Promise<void> {
  const found = await findMark(dataDir)
  if (found !== null) throw new BackupError('UnusableTarget', notEnded(dataDir, found))
}

async function findMark(dataDir: string): Promise<RestoringMark | null> {
  try {
    return schema.parse(JSON.parse(await readFile(join(dataDir, MARK), 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

function notEnded(dataDir: string, { backup, target }: RestoringMark): string {
  return (
    `The restore of backup ${backup} from ${target} to ${dataDir} has not come to its end: ` +
    'run it again, and it goes on; or remove the folder'
  )
}
