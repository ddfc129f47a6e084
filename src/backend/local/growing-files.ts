import { constants } from 'node:fs'
import { type FileHandle, open, stat, truncate } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { StorageError } from '../../model/errors.ts'
import { mapped } from '../file-errors.ts'
import type { Appended, AppendOptions } from '../resumable-backend.ts'
import { type Files, orMissing } from './files.ts'
import { OpenFiles } from './open-files.ts'
import { appendToFile } from './resumable-file.ts'

/**
 * Versions that arrive in chunks: each is one file, which grows at its true place. No notes are needed for that. Between two
 * chunks it stays open for a moment.
 */
export class GrowingFiles {
  readonly #files: Files
  readonly #fsync: boolean
  readonly #open = new OpenFiles()

  constructor(files: Files, fsync: boolean) {
    this.#files = files
    this.#fsync = fsync
  }

  /** As `ResumableBackend.append`. @param start length before, in bytes */
  append(
    path: string,
    start: number,
    body: Readable,
    { onProgress, ...options }: AppendOptions & { batchBytes(): number },
  ): Promise<Appended> {
    const progress = (offset: number) => ({ offset, notes: null })
    return this.#resuming(path, start, async (file, leaveOpen) => {
      const { size, cut } = await appendToFile(file, start, body, {
        ...options,
        onDurable: (length) => onProgress(progress(length)),
        fsync: this.#fsync,
      })
      const length = start + size
      // What a file that was not flushed says when it is closed is not to be missed.
      if (this.#fsync && length !== options.size) leaveOpen()
      return { progress: progress(length), cut }
    })
  }

  /** Makes an empty version. */
  makeEmpty(path: string): Promise<void> {
    return this.#resuming(path, 0, (file) => this.#files.flush(file))
  }

  /** Cuts off what is beyond `length` bytes. */
  async goBack(path: string, length: number): Promise<void> {
    await this.#files.ifThere(async () => {
      if ((await stat(path)).size > length) await truncate(path, length)
    })
  }

  /** No other chunk comes to it. Closes it, if it is open: a file that is removed would take its room until then. */
  forget(path: string): Promise<void> {
    return this.#open.drop(path)
  }

  close(): Promise<void> {
    return this.#open.dropAll()
  }

  /**
   * Runs `work` with the file that has `length` bytes of a version, and no more now; made when that is none.
   *
   * @param work may leave it open for the next chunk
   */
  async #resuming<T>(
    path: string,
    length: number,
    work: (file: FileHandle, leaveOpen: () => void) => Promise<T>,
  ): Promise<T> {
    const file = await this.#openToResume(path, length)
    let stays = false
    try {
      const result = await work(file, () => {
        stays = true
      })
      if (stays) this.#open.keep(path, file)
      else await mapped(file.close())
      return result
    } catch (error) {
      await file.close().catch(ignore) // nothing, if it is closed
      throw error
    }
  }

  async #openToResume(path: string, length: number): Promise<FileHandle> {
    const kept = await this.#open.take(path)
    const file = kept?.file ?? (await this.#openAt(path, length))
    try {
      const size = kept?.size ?? (await mapped(file.stat())).size
      if (size < length) throw new StorageError('MissingBytes')
      if (size > length) await mapped(file.truncate(length))
      if (length === 0) await mapped(this.#files.folders.flushName(path))
      return file
    } catch (error) {
      await file.close().catch(ignore)
      throw error
    }
  }

  async #openAt(path: string, length: number): Promise<FileHandle> {
    // Without O_TRUNC: nothing may be lost before it is known that nothing is kept.
    const flags = constants.O_RDWR | (length === 0 ? constants.O_CREAT : 0)
    const { folders } = this.#files
    if (length === 0) return mapped(folders.holding(path, () => open(path, flags, 0o600)))
    return orMissing(await this.#files.ifThere(() => open(path, flags)))
  }
}

const ignore = () => {}
