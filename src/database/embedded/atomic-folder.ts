import { chmod, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { flushPath } from '../../lib/fsync.ts'
import { makeFolders } from '../../lib/make-folders.ts'
import { isAlive } from './postmaster.ts'

/**
 * Makes the folder `path` whole or not at all: `fill` works in `<path>.new-<pid>`, which takes its name when
 * it is complete. What a crash leaves, the next call removes. A `path` that has content by then, because
 * another server starts at the same time, stays as it is.
 */
export async function makeFolder(path: string, fill: (unfinished: string) => Promise<void>): Promise<void> {
  await removeLeftovers(`${path}.new-`)
  const unfinished = `${path}.new-${process.pid}`
  await mkdir(unfinished, { mode: 0o700 })
  try {
    await fill(unfinished)
    await rename(unfinished, path)
    await flushPath(dirname(path)) // the name itself must survive a crash too
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  }
}

/** A folder that every user may enter, whatever our umask. One that exists is left as it is. */
export async function makeSharedFolder(path: string): Promise<void> {
  const made = makeFolders(path)
  if (made !== undefined) await chmod(path, 0o755)
}

/**
 * Removes the folders of processes that were killed. One with our own number is an earlier process's: in a container every
 * start may get the same.
 *
 * @param stem what their names begin with, before the number of their process
 * @param prepare ends what still works in one
 */
export async function removeLeftovers(
  stem: string,
  prepare: (leftover: string) => Promise<void> = async () => {},
): Promise<void> {
  for (const name of await readdir(dirname(stem))) {
    const pid = name.startsWith(basename(stem)) ? Number(name.slice(basename(stem).length)) : 0
    if (pid > 0 && (pid === process.pid || !isAlive(pid))) {
      const leftover = join(dirname(stem), name)
      await prepare(leftover)
      await rm(leftover, { recursive: true, force: true })
    }
  }
}
