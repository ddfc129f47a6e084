import { randomUUID } from 'node:crypto'
import { type FileHandle, lstat, open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { UUID } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { UnfinishedWrite } from '../backend.ts'
import { mapped } from '../file-errors.ts'
import { checkPartNumber, firstOf, type Part, type PartOptions } from '../resumable-backend.ts'
import { type Files, orMissing, writeAll } from './files.ts'
import { type JoinedFiles, PART_NAME } from './joined-files.ts'
import type { NewFiles } from './new-files.ts'

export interface PartFilesOptions {
  newFiles: NewFiles
  /** Up to so many bytes it is worth more to have one file than to copy nothing; 8 MiB. */
  mostCopied?: number | undefined
}

/**
 * Parts of versions, each a file until something is made of them.
 *
 *     <root>/objects/parts/<bucket uuid>/<version>/<number>-<uuid>
 *
 * Nobody knows the name of a part before the caller has kept it; so it is written as a version is. To assemble, the folder
 * gets the name of the version, with a list of its parts (`JoinedFiles`). If the parts after the first are small together,
 * the first part's file grows by them instead, and gets that name once it is durable. A part is the first bytes of its
 * file, as many as it has: when a crash has left more of them, the part is what it was.
 *
 * What a crash can leave, and who cleans it: a file cut short, one that the caller has not kept, and those that were
 * assembled. `list` names them all for the cleanup. Empty folders are never listed.
 */
export class PartFiles {
  readonly #files: Files
  readonly #joined: JoinedFiles
  readonly #mostCopied: number
  readonly #newFiles: NewFiles

  constructor(files: Files, joined: JoinedFiles, { newFiles, mostCopied = MOST_COPIED }: PartFilesOptions) {
    this.#files = files
    this.#joined = joined
    this.#mostCopied = mostCopied
    this.#newFiles = newFiles
  }

  /** As `ResumableBackend.writePart`. */
  async write(
    at: Location,
    number: number,
    body: Readable | Uint8Array,
    { size, giveBack }: PartOptions,
  ): Promise<Part> {
    checkPartNumber(number)
    const id = randomUUID()
    const path = this.#path(at, `${number}-${id}`)
    const written = await this.#newFiles.write(path, body, { maxBytes: size, giveBack })
    return { number, ...written, notes: id }
  }

  async remove(at: Location, part: Part): Promise<void> {
    if (isOwn(part)) await this.#files.remove(this.#pathOf(at, part))
  }

  /** As `ResumableBackend.assemble`. @param target where the file of the version is to be */
  async assemble(at: Location, parts: Part[], target: string): Promise<void> {
    const first = firstOf(parts)
    if (!parts.every(isOwn)) throw new StorageError('MissingBytes')
    const path = this.#pathOf(at, first)
    const made = await this.#sizeOf(target)
    if (made !== null) {
      // There are no parts any more from which it could be made anew.
      if (made !== lengthOf(parts)) throw new StorageError('MissingBytes')
    } else {
      await this.#make(at, path, parts, target)
    }
    await mapped(this.#files.folders.flushName(target))
    await this.removeAll(at).catch(() => {}) // the cleanup finds them
  }

  async #make(at: Location, path: string, parts: Part[], target: string): Promise<void> {
    if (lengthOf(parts.slice(1)) > this.#mostCopied) {
      const pieces = parts.map(({ number, notes, size }) => ({ name: `${number}-${notes}`, size }))
      return this.#joined.join(this.folderOf(at), pieces, target)
    }
    await this.#grow(at, path, parts)
    await mapped(this.#files.folders.holding(target, () => rename(path, target)))
  }

  /** In bytes; null when nothing is there. */
  async #sizeOf(target: string): Promise<number | null> {
    const made = await this.#files.ifThere(() => stat(target))
    if (!made) return null
    return made.isDirectory() ? this.#joined.size(target) : made.size
  }

  /** Removes all of a version. */
  async removeAll(at: Location): Promise<void> {
    const folder = this.folderOf(at)
    for await (const name of this.#files.names(folder)) await this.#files.remove(join(folder, name))
    await this.#files.removeIfEmpty(folder)
  }

  /** All of all versions. */
  async *list(): AsyncGenerator<UnfinishedWrite> {
    for await (const bucket of this.#files.names(this.#top)) {
      if (!UUID.test(bucket)) continue
      for await (const version of this.#files.names(join(this.#top, bucket))) {
        if (!UUID.test(version)) continue
        const location = { bucket, version }
        for await (const id of this.#files.names(this.folderOf(location))) {
          if (!PART_NAME.test(id)) continue
          const path = this.#path(location, id)
          const file = await this.#files.ifThere(() => lstat(path))
          if (file?.isFile()) yield { location, id, isPart: true, startedAt: file.mtime }
        }
      }
    }
  }

  /** Removes what `list` has named. */
  async abandon({ location, id }: UnfinishedWrite): Promise<void> {
    await this.#files.remove(this.#path(location, id))
    await this.#files.removeIfEmpty(this.folderOf(location))
  }

  /** As `Backend.removeFolders`. */
  async removeFolders(bucket: string): Promise<boolean> {
    const folder = join(this.#top, bucket)
    let isEmpty = true
    for await (const version of this.#files.names(folder)) {
      isEmpty = (await this.#files.removeIfEmpty(join(folder, version))) && isEmpty
    }
    return isEmpty && this.#files.removeIfEmpty(folder)
  }

  /** Adds all other parts to the file of the first. If that fails, it is what it was, or a bit longer. */
  async #grow(at: Location, path: string, [first, ...others]: Part[]): Promise<void> {
    const start = first?.size ?? 0
    const file = await this.#open(path, 'r+', start)
    try {
      let length = start
      await mapped(file.truncate(start))
      for (const part of others) length = await this.#append(file, length, at, part)
      // A part may have lain here for days, and the cleanup takes old bytes without a row for leftovers.
      const now = new Date()
      await mapped(file.utimes(now, now))
      await this.#files.flush(file)
    } catch (error) {
      await file.truncate(start).catch(() => {}) // the room may be needed
      throw error
    } finally {
      await file.close().catch(() => {}) // flushed, or of no use
    }
  }

  /** @returns the new length of `file`, in bytes */
  async #append(file: FileHandle, length: number, at: Location, part: Part): Promise<number> {
    const source = await this.#open(this.#pathOf(at, part), 'r', part.size)
    try {
      const buffer = Buffer.allocUnsafe(Math.min(part.size, COPIED_AT_ONCE))
      let end = length
      for (let position = 0; position < part.size; ) {
        const wanted = Math.min(buffer.length, part.size - position)
        const { bytesRead } = await mapped(source.read(buffer, 0, wanted, position))
        if (bytesRead === 0) throw new StorageError('MissingBytes')
        end = await writeAll(file, [buffer.subarray(0, bytesRead)], end)
        position += bytesRead
      }
      return end
    } finally {
      await source.close().catch(() => {}) // only read
    }
  }

  /** @throws MissingBytes when there is no file, or one of less than `size` bytes */
  async #open(path: string, flags: 'r' | 'r+', size: number): Promise<FileHandle> {
    const file = orMissing(await this.#files.ifThere(() => open(path, flags)))
    try {
      if ((await mapped(file.stat())).size < size) throw new StorageError('MissingBytes')
      return file
    } catch (error) {
      await file.close().catch(() => {})
      throw error
    }
  }

  get #top(): string {
    return join(this.#files.folders.top, 'parts')
  }

  /** Where the parts of a version are until it is made of them. */
  folderOf({ bucket, version }: Location): string {
    if (!UUID.test(bucket) || !UUID.test(version)) throw new Error(`Not a location: ${bucket}/${version}`)
    return join(this.#top, bucket, version)
  }

  #pathOf(at: Location, { number, notes }: Part): string {
    return this.#path(at, `${number}-${notes}`)
  }

  #path(at: Location, name: string): string {
    if (!PART_NAME.test(name)) throw new Error(`Not the name of a part: ${name}`)
    return join(this.folderOf(at), name)
  }
}

/** Not one that another backend has noted, during a move. */
function isOwn({ notes }: Part): boolean {
  return UUID.test(notes)
}

/** In bytes. */
const COPIED_AT_ONCE = 512 * 1024

/** In bytes. */
const MOST_COPIED = 8 * 1024 * 1024

function lengthOf(parts: Part[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}
