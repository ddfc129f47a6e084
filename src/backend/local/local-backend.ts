import { randomUUID } from 'node:crypto'
import * as fs from 'node:fs'
import { lstat, open, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { UUID } from '../../lib/uuid.ts'
import { StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { FileOnDisk, ReadOptions, Stored, Unfinished, WriteOptions, Written } from '../backend.ts'
import { BatchSize } from '../batch-size.ts'
import { errno, fromErrno, mapped, unusable } from '../file-errors.ts'
import type {
  Appended,
  AppendOptions,
  Part,
  PartOptions,
  Progress,
  ResumableBackend,
} from '../resumable-backend.ts'
import { CheckFiles } from './check-files.ts'
import { FileStream } from './file-stream.ts'
import { Files, orMissing } from './files.ts'
import { Folders, objectsFolder } from './folders.ts'
import { GrowingFiles } from './growing-files.ts'
import { isFolder, JoinedFiles } from './joined-files.ts'
import { NewFiles } from './new-files.ts'
import { PartFiles } from './part-files.ts'
import { SendBuffers } from './send-buffers.ts'

export interface LocalBackendOptions {
  /** The data folder; `objects/` is made in it. */
  root: string
  /** Whether bytes and their names are flushed to the disk before a write is acknowledged. */
  fsync: boolean
  /** Parts behind the first that have no more bytes together become one file with it; 8 MiB. */
  mostCopied?: number
}

/**
 * Bytes in a folder of this machine.
 *
 *     <root>/objects/<bucket uuid>/<first two of version>/<version>     a file; or a folder, see JoinedFiles
 *     <root>/objects/parts/<bucket uuid>/<version>/<number>-<uuid>      see PartFiles
 *     <root>/objects/.check-<uuid>                                      see CheckFiles
 *
 * A version's path is new, and nobody knows it before its row is committed, so there is no temporary name
 * and no rename: the file is created exclusively, filled, flushed, and its folder flushed. (A version that a row
 * names already is written under another one, and renamed.)
 *
 * What a crash can leave, and who cleans it:
 * - a file cut short, or a whole one that was never acknowledged: its version is on `storage.uploads`;
 * - a file that was removed and is back: no row names it, so the cleanup's sweep finds it;
 * - a part, or the file of a check: `unfinished` names it, and the cleanup abandons it;
 * - empty folders: harmless, and never listed.
 *
 * Folders below `objects/` are made when needed, `objects/` itself only at the start. When it is missing
 * later its disk has been taken away, and everything is BackendUnavailable: a write must not fill the disk
 * below, a read must not call every object lost, and a removal must not be struck off.
 */
export class LocalBackend implements ResumableBackend {
  readonly isLocal = true
  readonly #folders: Folders
  readonly #files: Files
  readonly #joined: JoinedFiles
  readonly #newFiles: NewFiles
  readonly #parts: PartFiles
  readonly #checks: CheckFiles
  readonly #growing: GrowingFiles
  readonly #batchSize = new BatchSize()
  readonly #sendBuffers = new SendBuffers()

  /** @throws BackendUnavailable when the folder cannot be made */
  constructor({ root, fsync, mostCopied }: LocalBackendOptions) {
    try {
      this.#folders = new Folders(objectsFolder(root), fsync)
    } catch (error) {
      throw unusable(error)
    }
    this.#files = new Files(this.#folders, fsync)
    this.#joined = new JoinedFiles(this.#files)
    this.#newFiles = new NewFiles(this.#files, this.#batchSize)
    this.#parts = new PartFiles(this.#files, this.#joined, { newFiles: this.#newFiles, mostCopied })
    this.#checks = new CheckFiles(this.#files)
    this.#growing = new GrowingFiles(this.#files, fsync)
  }

  async write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    if (options.isNamed) return this.#writeNamed(at, body, options)
    return this.#newFiles.write(this.#path(at), body, options)
  }

  append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended> {
    body.on('error', ignore) // as in `NewFiles`
    const batchBytes = this.#batchSize.bytes
    return this.#batchSize.during(() =>
      this.#growing.append(this.#path(at), from.offset, body, { ...options, batchBytes }),
    )
  }

  async complete(at: Location, { offset }: Progress): Promise<void> {
    const path = this.#path(at)
    if (offset === 0) return this.#growing.makeEmpty(path)
    void this.#growing.forget(path)
    if ((await this.size(at)) !== offset) throw new StorageError('MissingBytes')
  }

  goBack(at: Location, { to: { offset } }: { to: Progress }): Promise<void> {
    return this.#growing.goBack(this.#path(at), offset)
  }

  wantsClaim(): boolean {
    return false
  }

  writePart(at: Location, number: number, body: Readable | Uint8Array, options: PartOptions): Promise<Part> {
    return this.#parts.write(at, number, body, options)
  }

  removePart(at: Location, part: Part): Promise<void> {
    return this.#parts.remove(at, part)
  }

  assemble(at: Location, parts: Part[]): Promise<void> {
    return this.#parts.assemble(at, parts, this.#path(at))
  }

  async discard(at: Location): Promise<void> {
    await this.remove(at)
    await this.#parts.removeAll(at)
  }

  async read(at: Location, { range, size }: ReadOptions = {}): Promise<FileStream> {
    const path = this.#path(at)
    const file = orMissing(await this.#files.ifThere(() => open(path, 'r')))
    try {
      const found = await mapped(file.stat())
      const joined = found.isDirectory() ? await this.#joined.open(path) : undefined
      if (joined) await file.close()
      const { size: length } = joined ?? found
      if (size !== undefined && length !== size) throw new StorageError('MissingBytes')
      const last = length - 1
      const { start, end } = range ?? { start: 0, end: last }
      return new FileStream(joined ?? file, { start, end: Math.min(end, last) }, this.#sendBuffers)
    } catch (error) {
      await file.close().catch(ignore)
      throw error
    }
  }

  async readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    const path = this.#path(at)
    // One byte more than there should be: a read that stops at `size` has seen the end, so that neither
    // a stat nor a second read is needed to notice a file that is too long.
    const bytes = new Uint8Array(size + 1)
    let length = 0
    const fd = orMissing(await this.#files.ifThere(() => openFd(path, 'r')))
    try {
      do {
        const { bytesRead } = await readFd(fd, bytes, length, bytes.length - length, null)
        if (bytesRead === 0) break
        length += bytesRead
      } while (length < size)
    } catch (error) {
      if (errno(error) === 'EISDIR') return this.#readJoined(at, size)
      throw fromErrno(error)
    } finally {
      fs.close(fd, ignore) // nobody waits for it: nothing was written
    }
    if (length !== size) throw new StorageError('MissingBytes')
    return bytes.subarray(0, size)
  }

  async #readJoined(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(size)
    let length = 0
    for await (const chunk of await this.read(at, { size })) {
      bytes.set(chunk, length)
      length += chunk.length
    }
    return bytes
  }

  async directUrl(): Promise<null> {
    return null
  }

  async file(at: Location): Promise<FileOnDisk | null> {
    const path = this.#path(at)
    const found = await this.#files.ifThere(() => lstat(path))
    return found?.isFile() ? { path, size: found.size } : null
  }

  async copy(from: Location, to: Location): Promise<void> {
    const source = this.#path(from)
    const target = this.#path(to)
    if (!(await this.#files.link(source, target))) {
      const isJoined = (await mapped(stat(source))).isDirectory() // folders have one name only
      if (isJoined) await this.#joined.copy(source, this.#parts.folderOf(to), target)
      else await this.#files.copyBytes(source, target)
    }
    await this.#files.orRemove(target, () => mapped(this.#folders.flushName(target)))
  }

  async remove(at: Location): Promise<void> {
    const path = this.#path(at)
    void this.#growing.forget(path)
    // Not flushed: if a power failure brings it back, nothing names it and the cleanup finds it.
    const isJoined = await this.#files.ifThere(async () => {
      try {
        await unlink(path)
        return false
      } catch (error) {
        if (!isFolder(error) || !(await lstat(path)).isDirectory()) throw error
        return true
      }
    })
    if (isJoined) await this.#joined.remove(path)
  }

  async size(at: Location): Promise<number | null> {
    const path = this.#path(at)
    const file = await this.#files.ifThere(() => stat(path))
    if (!file) return null
    return file.isDirectory() ? this.#joined.size(path) : file.size
  }

  async exists(at: Location): Promise<boolean> {
    return (await this.size(at)) !== null
  }

  async *list(bucket?: string): AsyncGenerator<Stored> {
    if (bucket !== undefined && !UUID.test(bucket)) throw new Error(`Not a bucket: ${bucket}`)
    for await (const owner of bucket === undefined ? this.#files.names(this.#folders.top) : [bucket]) {
      if (!UUID.test(owner)) continue
      const folder = join(this.#folders.top, owner)
      for await (const shard of this.#files.names(folder)) {
        if (!SHARD.test(shard)) continue
        for await (const version of this.#files.names(join(folder, shard))) {
          if (!UUID.test(version) || !version.startsWith(shard)) continue
          const location = { bucket: owner, version }
          const file = await this.#files.ifThere(() => lstat(this.#path(location)))
          if (!file?.isFile() && !file?.isDirectory()) continue
          const size = file.isFile() ? file.size : await this.#joined.listedSize(this.#path(location))
          if (size !== null) yield { location, size, modifiedAt: file.mtime }
        }
      }
    }
  }

  /** Parts and checks. Any other file is listed from its first byte. */
  async *unfinished(): AsyncGenerator<Unfinished> {
    yield* this.#parts.list()
    yield* this.#checks.list()
  }

  abandon(write: Unfinished): Promise<void> {
    return write.location === null ? this.#checks.abandon(write.id) : this.#parts.abandon(write)
  }

  async removeFolders(bucket: string): Promise<boolean> {
    if (!UUID.test(bucket)) throw new Error(`Not a bucket's UUID: ${bucket}`)
    const folder = join(this.#folders.top, bucket)
    let isEmpty = await this.#parts.removeFolders(bucket)
    for await (const shard of this.#files.names(folder)) {
      isEmpty = (await this.#files.removeIfEmpty(join(folder, shard))) && isEmpty
    }
    return isEmpty && this.#files.removeIfEmpty(folder)
  }

  check(): Promise<void> {
    return this.#checks.run()
  }

  async close(): Promise<void> {
    this.#folders.forget()
    await this.#growing.close()
  }

  /** The only place where a location becomes a path. */
  #path({ bucket, version }: Location): string {
    if (!UUID.test(bucket) || !UUID.test(version)) throw new Error(`Not a location: ${bucket}/${version}`)
    return join(this.#folders.top, bucket, version.slice(0, 2), version)
  }

  /** Writes a draft, a version that nothing names, and gives it its true name once it is durable. */
  async #writeNamed(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written> {
    const path = this.#path(at)
    if (!(body instanceof Uint8Array)) body.on('error', ignore) // as in `NewFiles`
    if (await this.exists(at)) throw Object.assign(new Error(`There is a file: ${path}`), { code: 'EEXIST' })
    const draft = { bucket: at.bucket, version: randomUUID() }
    const written = await this.write(draft, body, { ...options, isNamed: false })
    await this.#files.orRemove(this.#path(draft), () =>
      mapped(this.#folders.holding(path, () => rename(this.#path(draft), path))),
    )
    await this.#files.orRemove(path, () => mapped(this.#folders.flushName(path)))
    return written
  }
}

const SHARD = /^[0-9a-f]{2}$/

// Small reads are the busiest path: by `fs.promises` they take half as much processor time again.
const openFd = promisify(fs.open)
const readFd = promisify(fs.read)

const ignore = () => {}
