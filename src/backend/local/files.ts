import { constants } from 'node:fs'
import { copyFile, type FileHandle, link, open, opendir, rmdir, stat, unlink, utimes } from 'node:fs/promises'
import { settleBoth } from '../../lib/concurrency.ts'
import { flushFile, flushPath } from '../../lib/fsync.ts'
import { StorageError } from '../../model/errors.ts'
import { errno, fromErrno, mapped } from '../file-errors.ts'
import type { Folders } from './folders.ts'

/** What is done with files and the folders that hold them, whole or not at all, with its errors in our words. */
export class Files {
  constructor(
    readonly folders: Folders,
    private readonly fsync: boolean,
  ) {}

  async flush(file: FileHandle): Promise<void> {
    if (this.fsync) await mapped(flushFile(file))
  }

  /** Makes the file at `path` with what `fill` puts in it, durable; or leaves nothing. */
  async create<T>(path: string, fill: (file: FileHandle) => Promise<T>): Promise<T> {
    // A file that exists is another writer's, so this failure removes nothing.
    const file = await mapped(this.folders.holding(path, () => open(path, 'wx', 0o600)))
    return this.orRemove(path, async () => {
      try {
        const result = await fill(file)
        const keep = async () => {
          // Not fdatasync: for a new file it saves nothing, and the cleanup relies on the file's time.
          await this.flush(file)
          await mapped(file.close())
        }
        await settleBoth(keep(), mapped(this.folders.flushName(path)))
        return result
      } finally {
        await file.close().catch(ignore) // nothing, if it is closed
      }
    })
  }

  /** Runs `work`; if it fails, removes what is at `path`. If even that fails, the cleanup does it. */
  async orRemove<T>(path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      await unlink(path).catch(ignore)
      throw error
    }
  }

  /**
   * Gives a file a second name, which is not flushed. Versions are never changed in place, so it is as good as a second file.
   *
   * @returns false where it can have none, as folders cannot
   * @throws MissingBytes
   */
  async link(source: string, target: string): Promise<boolean> {
    const isLinked = await this.ifThere(async () => {
      try {
        // A link has its source's time, and the cleanup takes old bytes without a row for leftovers.
        const now = new Date()
        await utimes(source, now, now)
        await this.folders.holding(target, () => link(source, target))
        return true
      } catch (error) {
        if (CANNOT_LINK.has(errno(error))) return false
        throw error
      }
    })
    return orMissing(isLinked)
  }

  /** For a file that cannot be linked. Its bytes are durable then, its name is not. @throws MissingBytes, StorageFull */
  async copyBytes(source: string, target: string): Promise<void> {
    // Shares blocks where the file system can do that.
    const mode = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE
    // When this fails it leaves nothing at `target`, and what another has put there stays.
    const isCopied = await this.ifThere(async () => {
      await this.folders.holding(target, () => copyFile(source, target, mode))
      return true
    })
    orMissing(isCopied)
    if (this.fsync) await this.orRemove(target, () => mapped(flushPath(target)))
  }

  /** Removing nothing is a success. @throws BackendUnavailable */
  async remove(path: string): Promise<void> {
    // Not flushed: if a power failure brings the file back, nothing names it and the cleanup finds it.
    await this.ifThere(() => unlink(path))
  }

  /** Removes a folder that holds nothing. Returns whether it is gone. */
  async removeIfEmpty(folder: string): Promise<boolean> {
    const isEmpty = await this.ifThere(async () => {
      try {
        await rmdir(folder)
        return true
      } catch (error) {
        if (['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(errno(error))) return false
        throw error
      }
    })
    return isEmpty ?? true
  }

  /** The names in a folder; none when it has vanished, or is no folder. */
  async *names(folder: string): AsyncGenerator<string> {
    const entries = await this.ifThere(async () => {
      try {
        return await opendir(folder, { bufferSize: 256 })
      } catch (error) {
        if (errno(error) === 'ENOTDIR' && folder !== this.folders.top) return [] // someone else's file
        throw error
      }
    })
    try {
      for await (const { name } of entries ?? []) yield name
    } catch (error) {
      await this.#passMissing(error)
    }
  }

  /**
   * The result of `look`, or undefined when that misses a file on a disk that is there. Only a second look is
   * believed: the disk may have come back just after the first, and what is on it must not seem lost.
   */
  async ifThere<T>(look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look()
    } catch (error) {
      await this.#passMissing(error)
    }
    try {
      return await look()
    } catch (error) {
      return this.#passMissing(error)
    }
  }

  /** Returns if `error` says that something is missing on a disk that is there; else throws what it says. */
  async #passMissing(error: unknown): Promise<undefined> {
    if (errno(error) !== 'ENOENT') throw fromErrno(error)
    await mapped(stat(this.folders.top))
    return undefined
  }
}

/** @throws MissingBytes when there is nothing */
export function orMissing<T>(found: T | undefined): T {
  if (found === undefined) throw new StorageError('MissingBytes')
  return found
}

/** Writes all of these, from `position` on. Returns where they end. @throws StorageFull, BackendUnavailable */
export async function writeAll(file: FileHandle, batch: Uint8Array[], position: number): Promise<number> {
  let rest = batch
  let end = position
  while (rest.length > 0) {
    const { bytesWritten } = await mapped(file.writev(rest, end))
    end += bytesWritten
    rest = after(bytesWritten, rest)
  }
  return end
}

/** What is left of `chunks` after `bytes`: a disk that fills up takes less than it was given. */
function after(bytes: number, chunks: Uint8Array[]): Uint8Array[] {
  let skip = bytes
  for (const [index, chunk] of chunks.entries()) {
    if (skip < chunk.length) return [chunk.subarray(skip), ...chunks.slice(index + 1)]
    skip -= chunk.length
  }
  return []
}

/** Another file system, one without links, a file with too many, or one that belongs to someone else. */
const CANNOT_LINK = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

const ignore = () => {}
