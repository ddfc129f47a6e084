import { mkdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { flushPathSync } from '../../lib/fsync.ts'
import { makeFolders } from '../../lib/make-folders.ts'
import { errno } from '../file-errors.ts'
import { SharedFlushes } from './shared-flushes.ts'

/** Where the files are in a data folder, absolute. */
export function objectsFolder(dataDir: string): string {
  return join(resolve(dataDir), 'objects')
}

/**
 * The folders that hold the bytes: made when they are needed, their names flushed once.
 *
 * A new file survives a power failure only if its folder was flushed after the file got its name, and the
 * same is true of each new folder above it. Errors are the file system's own.
 */
export class Folders {
  readonly #fsync: boolean
  /** Folders whose own name has been flushed, so that a further file in them costs one flush, not three. */
  readonly #flushed = new Set<string>()
  readonly #flushes = new SharedFlushes()

  /** @param top absolute. Made here, and nothing makes it again later: see LocalBackend */
  constructor(
    readonly top: string,
    fsync: boolean,
  ) {
    this.#fsync = fsync
    const firstMade = makeFolders(this.top, 0o700)
    if (!fsync) return
    // One that exists may have been made a moment ago, by a process that has not flushed it.
    for (let folder = this.top; ; folder = dirname(folder)) {
      flushPathSync(dirname(folder))
      if (folder === (firstMade ?? this.top)) break
    }
  }

  /** Runs `make`, which puts a file at `path`; if its folders are missing, makes them and tries once more. */
  async holding<T>(path: string, make: () => Promise<T>): Promise<T> {
    try {
      return await make()
    } catch (error) {
      if (errno(error) !== 'ENOENT') throw error
    }
    for (const folder of this.#above(path).reverse()) {
      this.#flushed.delete(folder) // it may have been flushed once, and removed since
      await mkdir(folder, 0o700).catch((error) => {
        if (errno(error) !== 'EEXIST') throw error
      })
    }
    return make()
  }

  /** Makes the name of the new file at `path` durable, with those of its folders unless they are. */
  async flushName(path: string): Promise<void> {
    if (!this.#fsync) return
    await this.#flushes.flush(dirname(path))
    for (const folder of this.#above(path)) {
      if (this.#flushed.has(folder)) continue
      await this.#flushes.flush(dirname(folder))
      // To forget all of them costs each one flush more, which is cheaper than keeping an order.
      if (this.#flushed.size >= MAX_FLUSHED) this.#flushed.clear()
      this.#flushed.add(folder)
    }
  }

  /** The folders in which `path` lies, below the top, the deepest first. */
  #above(path: string): string[] {
    const folders: string[] = []
    for (let folder = dirname(path); folder !== this.top; folder = dirname(folder)) folders.push(folder)
    return folders
  }

  forget(): void {
    this.#flushed.clear()
  }
}

/** Sixteen full buckets, in about half a megabyte. */
const MAX_FLUSHED = 4096
