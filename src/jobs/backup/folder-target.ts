import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, type FileHandle, link, lstat, open, opendir, rename, rm, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { BatchSize } from '../../backend/batch-size.ts'
import { drain } from '../../backend/drain.ts'
import { errno } from '../../backend/file-errors.ts'
import { writeAll } from '../../backend/local/files.ts'
import { Folders } from '../../backend/local/folders.ts'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { flushFile, flushPath } from '../../lib/fsync.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import { systemReason } from '../../model/system-reason.ts'
import { BackupError } from './backup-error.ts'
import {
  checkPath,
  checkPrefix,
  type ListedFile,
  type TargetPlace,
  UNFINISHED,
  unfinishedName,
  type WrittenFile,
} from './target.ts'

export interface FolderTargetOptions {
  /** Absolute. */
  root: string
  /** What the operator calls it. */
  name: string
  /** Whether files and their names are flushed to the disk. */
  fsync: boolean
}

/** How much of a file is read at once, in bytes. */
const READ_AHEAD = 512 * 1024

const FLUSHES_AT_ONCE = 4

/** How many files of a folder are asked for their sizes at once. */
const STATS_AT_ONCE = 32

/** By which it is tried whether a target can be written. */
const PROBE = `check${UNFINISHED}`

/** What a new file system has in it. */
const OF_THE_FILE_SYSTEM = 'lost+found'

/**
 * A target in a folder, which only its owner may read. A file is written beside its name and then renamed, so that it is
 * there whole or not at all; what a killed write leaves has `.new-` in its name, and `removeUnfinished` removes it.
 */
export class FolderTarget implements TargetPlace {
  readonly name: string
  readonly #root: string
  readonly #fsync: boolean
  readonly #batchSize = new BatchSize()
  /** Files that were linked since the last flush, one of each folder: the folder's flush is for all of its files. */
  readonly #linked = new Map<string, string>()
  #madeFolders: Folders | undefined

  constructor({ root, name, fsync }: FolderTargetOptions) {
    this.#root = root
    this.name = name
    this.#fsync = fsync
  }

  async write(path: string, body: Readable | Uint8Array): Promise<WrittenFile> {
    if (!(body instanceof Uint8Array)) body.on('error', ignore) // it may break before `drain` listens
    const to = this.#at(path)
    const unfinished = unfinishedName(to)
    const hash = createHash('sha256')
    let size = 0
    try {
      await this.#replace(unfinished, to, async (file) => {
        if (body instanceof Uint8Array) {
          size = await this.#inOurWords(writeAll(file, body.length === 0 ? [] : [body], 0))
          hash.update(body)
          return
        }
        await this.#batchSize.during(() =>
          drain(body, {
            maxBytes: Number.POSITIVE_INFINITY,
            batchBytes: this.#batchSize.bytes,
            tap: (chunk) => hash.update(chunk),
            write: async (batch) => {
              size = await this.#inOurWords(writeAll(file, batch, size))
            },
          }),
        )
      })
    } catch (error) {
      if (!(body instanceof Uint8Array)) body.destroy()
      throw error
    }
    return { size, sha256: hash.digest('hex') }
  }

  async link(path: string, source: string): Promise<'made' | 'there' | null> {
    const to = this.#at(path)
    const linked = await this.#inOurWords(this.#linkOrShare(source, to))
    if (linked !== null) this.#linked.set(dirname(to), to)
    return linked
  }

  async flush(): Promise<void> {
    const flushOne = async ([folder, file]: [string, string]) => {
      await this.#folders.flushName(file)
      // Another one may have been linked there in the meantime.
      if (this.#linked.get(folder) === file) this.#linked.delete(folder)
    }
    await this.#inOurWords(forEachConcurrent(FLUSHES_AT_ONCE, [...this.#linked], flushOne))
  }

  async read(path: string): Promise<Readable> {
    const file = await this.#ifThere(open(this.#at(path), 'r'))
    if (!file) throw new BackupError('MissingBackupFile', `${path} is missing in ${this.name}`)
    return file.createReadStream({ highWaterMark: READ_AHEAD })
  }

  async exists(path: string): Promise<number | null> {
    const found = await this.#ifThere(lstat(this.#at(path)))
    return found?.isFile() ? found.size : null
  }

  async *list(prefix: string): AsyncGenerator<ListedFile> {
    checkPrefix(prefix)
    for await (const paths of this.#pathsBelow(prefix)) {
      const whole = paths.filter((path) => !isUnfinished(path))
      const found = await Promise.all(whole.map((path) => this.#ifThere(lstat(join(this.#root, path)))))
      for (const [index, path] of whole.entries()) {
        const file = found[index]
        if (file) yield { path, size: file.size, modifiedAt: file.mtime }
      }
    }
  }

  async folders(): Promise<string[]> {
    const names: string[] = []
    for await (const entry of this.#entries('')) if (entry.isDirectory()) names.push(entry.name)
    return names.filter((name) => name !== OF_THE_FILE_SYSTEM)
  }

  async isEmpty(): Promise<boolean> {
    for await (const { name } of this.#entries('')) {
      if (name !== OF_THE_FILE_SYSTEM && !isUnfinished(name)) return false
    }
    return true
  }

  async remove(path: string): Promise<void> {
    const file = this.#at(path)
    await this.#ifThere(unlink(file))
    await this.#flushFolder(dirname(file))
  }

  async removeAll(prefix: string): Promise<void> {
    checkPrefix(prefix)
    if (prefix === '') throw new Error('A whole target is not removed')
    const folder = this.#at(prefix.slice(0, -1))
    await this.#inOurWords(rm(folder, { recursive: true, force: true }))
    await this.#flushFolder(dirname(folder))
  }

  async removeUnfinished(prefix: string): Promise<void> {
    checkPrefix(prefix)
    for await (const paths of this.#pathsBelow(prefix)) {
      const unfinished = paths.filter(isUnfinished)
      await Promise.all(unfinished.map((path) => this.#ifThere(unlink(join(this.#root, path)))))
    }
  }

  async check(): Promise<void> {
    // Of who was killed at this moment, or is another one who does the same.
    for await (const { name } of this.#entries('')) {
      if (name.startsWith(PROBE)) await this.#ifThere(unlink(join(this.#root, name)))
    }
    const probe = unfinishedName(join(this.#root, 'check'))
    await this.#create(probe, (file) => this.#inOurWords(writeAll(file, [Buffer.from('check')], 0)))
    await this.#ifThere(unlink(probe))
  }

  async close(): Promise<void> {}

  /** The only place where a path becomes one of the file system. */
  #at(path: string): string {
    checkPath(path)
    return join(this.#root, ...path.split('/'))
  }

  /** Made, with the target's own folder, by the first who writes. */
  get #folders(): Folders {
    this.#madeFolders ??= new Folders(this.#root, this.#fsync)
    return this.#madeFolders
  }

  /** Makes a file with what `fill` puts in it, durable, and then gives it its name; or leaves all as it was. */
  async #replace(unfinished: string, path: string, fill: (file: FileHandle) => Promise<void>): Promise<void> {
    await this.#create(unfinished, fill)
    try {
      await this.#inOurWords(rename(unfinished, path))
    } catch (error) {
      await unlink(unfinished).catch(ignore)
      throw error
    }
    await this.#inOurWords(this.#folders.flushName(path))
  }

  /** Makes a file with what `fill` puts in it; its bytes are durable then, its name is not. Or leaves nothing. */
  async #create(path: string, fill: (file: FileHandle) => Promise<unknown>): Promise<void> {
    const make = async () => this.#folders.holding(path, () => open(path, 'wx', 0o600))
    const file = await this.#inOurWords(make())
    try {
      await fill(file)
      if (this.#fsync) await this.#inOurWords(flushFile(file))
      await this.#inOurWords(file.close())
    } catch (error) {
      await file.close().catch(ignore) // nothing, if it is closed
      await unlink(path).catch(ignore)
      throw error
    }
  }

  async #linkOrShare(source: string, path: string): Promise<'made' | 'there' | null> {
    try {
      await this.#folders.holding(path, () => link(source, path))
      return 'made'
    } catch (error) {
      if (errno(error) === 'EEXIST') return 'there'
      if (!CANNOT_LINK.has(errno(error))) throw error
    }
    // Its own blocks, shared until one of the two changes, where the file system has that.
    const unfinished = unfinishedName(path)
    try {
      await copyFile(source, unfinished, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE)
      if (this.#fsync) await flushPath(unfinished)
      await rename(unfinished, path)
      return 'made'
    } catch {
      await unlink(unfinished).catch(ignore)
      return null
    }
  }

  /** Files below a prefix, some at a time. */
  async *#pathsBelow(prefix: string): AsyncGenerator<string[]> {
    let files: string[] = []
    for await (const entry of this.#entries(prefix)) {
      if (entry.isFile()) files.push(`${prefix}${entry.name}`)
      else if (entry.isDirectory() && entry.name !== OF_THE_FILE_SYSTEM) {
        yield* this.#pathsBelow(`${prefix}${entry.name}/`)
      }
      if (files.length < STATS_AT_ONCE) continue
      yield files
      files = []
    }
    if (files.length > 0) yield files
  }

  /** What a folder holds; nothing when it is not there. */
  async *#entries(prefix: string) {
    const folder = await this.#ifThere(opendir(join(this.#root, ...prefix.split('/')), { bufferSize: 256 }))
    if (!folder) return
    try {
      for await (const entry of folder) yield entry
    } catch (error) {
      throw this.#fault(error)
    }
  }

  async #flushFolder(folder: string): Promise<void> {
    if (this.#fsync) await this.#ifThere(flushPath(folder))
  }

  /** Undefined when the file system misses something. */
  async #ifThere<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work
    } catch (error) {
      if (errno(error) === 'ENOENT' || errno(error) === 'ENOTDIR') return undefined
      throw this.#fault(error)
    }
  }

  async #inOurWords<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      throw this.#fault(error)
    }
  }

  /** The file system's errors, with the target's name in the sentence. */
  #fault(error: unknown): unknown {
    const cause = error instanceof StorageError ? error.cause : error
    const isFull = errno(cause) === 'ENOSPC' || errno(cause) === 'EDQUOT' || hasCode(error, 'StorageFull')
    const reason = `${this.name} cannot take more: ${systemReason(cause)}`
    if (isFull) return new StorageError('StorageFull', { message: reason, cause })
    if (errno(cause) === '') return error
    return new BackupError('TargetUnavailable', `${this.name} cannot be used: ${systemReason(cause)}`, {
      cause,
    })
  }
}

function isUnfinished(path: string): boolean {
  return path.slice(path.lastIndexOf('/') + 1).includes(UNFINISHED)
}

/** Another file system, one without links, a file with too many, one that belongs to someone else, or a folder. */
const CANNOT_LINK = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EISDIR'])

const ignore = () => {}
