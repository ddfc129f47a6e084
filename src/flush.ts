import { closeSync, fsyncSync, openSync } from 'node:fs'
import { open } from 'node:fs/promises'

/** Flushes the file at `path`, or the names in the folder there, to the disk. */
export async function flushPath(path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    await file.sync()
  } catch (error) {
    if (!hasNoFlush(error)) throw error
  } finally {
    await file.close()
  }
}

/** The same at once. */
export function flushPathSync(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } catch (error) {
    if (!hasNoFlush(error)) throw error
  } finally {
    closeSync(fd)
  }
}

/** Some network file systems have no flush for folders, whose names they write at once. */
function hasNoFlush(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EINVAL'
}
