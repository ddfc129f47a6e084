import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes a folder, with those above it that are missing, and returns the first one that was made.
 *
 * Node's own, `mkdir` with `recursive`, turns for ever where the folder above is there and takes none: below /proc, or behind a
 * link to a disk that is not mounted.
 *
 * @throws the file system's error
 */
export function makeFolders(path: string, mode = 0o777): string | undefined {
  const folders = [resolve(path)]
  for (let above = dirname(resolve(path)); !existsSync(above); above = dirname(above)) folders.unshift(above)
  const made = folders.filter((folder) => makeFolder(folder, mode))
  return made[0]
}

/** Returns whether it was made; not when it is there. */
function makeFolder(path: string, mode: number): boolean {
  try {
    mkdirSync(path, mode)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST' || !statSync(path).isDirectory()) throw error
    return false
  }
}
