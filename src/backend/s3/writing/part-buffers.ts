import { randomUUID } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolders } from '../../../lib/make-folders.ts'
import { UUID } from '../../../lib/uuid.ts'
import { fromErrno } from '../../file-errors.ts'

/** The bytes of one part of an upload, from the first one that arrives until the store has them. */
export interface PartBuffer {
  /** How many bytes it has, never more than the size of a part. */
  readonly length: number
  /** Appends; there must be room. @throws StorageFull, BackendUnavailable when a file on the disk cannot be written */
  append(bytes: Uint8Array): Promise<void>
  /** All bytes, in memory, until `release`. @throws BackendUnavailable */
  content(): Promise<Uint8Array>
  /** Gives back what it holds. Harmless twice. */
  release(): Promise<void>
}

export interface PartBuffersOptions {
  /** In bytes. */
  partSize: number
  /** For all parts together, in bytes; at least two parts. */
  memory: number
  /** Where parts are kept that find no memory. Made when missing. */
  folder: string
}

/**
 * Keeps the parts of all uploads within a fixed amount of memory. An upload that finds none keeps its part in a
 * file: it must not wait for others, who may be clients on bad networks that take minutes to fill theirs.
 *
 * The files lose their names as soon as they are made, so that a crash leaves at most an empty one; they need not survive
 * it. The next start removes what it finds, whoever has made it: a file is as good without its name.
 */
export class PartBuffers {
  readonly partSize: number
  readonly #folder: string
  readonly #arriving: Memory
  /** For files on their way out. Apart from the others, because these are given back without any client's help. */
  readonly #leaving: Memory

  constructor({ partSize, memory, folder }: PartBuffersOptions) {
    this.partSize = partSize
    this.#folder = folder
    const count = Math.max(2, Math.floor(memory / partSize))
    const leaving = Math.ceil(count / 4)
    this.#arriving = new Memory(count - leaving, partSize)
    this.#leaving = new Memory(leaving, partSize)
    makeFolders(folder, 0o700)
    for (const name of readdirSync(folder)) if (UUID.test(name)) rmSync(join(folder, name), { force: true })
  }

  async open(): Promise<PartBuffer> {
    const memory = this.#arriving.takeNow()
    if (memory) return new MemoryPart(memory, this.#arriving)
    try {
      const path = join(this.#folder, randomUUID())
      const file = await open(path, 'wx+', 0o600)
      await rm(path, { force: true }) // another start may have done so
      return new FilePart(file, this.#leaving)
    } catch (error) {
      throw fromErrno(error)
    }
  }
}

/** A number of buffers of the same size, used again and again, and made only when they are needed. */
class Memory {
  readonly #free: Uint8Array[] = []
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []
  #unmade: number

  constructor(
    count: number,
    private readonly size: number,
  ) {
    this.#unmade = count
  }

  takeNow(): Uint8Array | undefined {
    const free = this.#free.pop()
    if (free || this.#unmade === 0) return free
    this.#unmade--
    return Buffer.allocUnsafeSlow(this.size)
  }

  async take(): Promise<Uint8Array> {
    return this.takeNow() ?? new Promise((resolve) => this.#waiting.push(resolve))
  }

  give(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next) next(buffer)
    else this.#free.push(buffer)
  }
}

class MemoryPart implements PartBuffer {
  length = 0
  #buffer: Uint8Array | undefined

  constructor(
    buffer: Uint8Array,
    private readonly memory: Memory,
  ) {
    this.#buffer = buffer
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.#open().set(bytes, this.length)
    this.length += bytes.length
  }

  async content(): Promise<Uint8Array> {
    return this.#open().subarray(0, this.length)
  }

  async release(): Promise<void> {
    if (this.#buffer) this.memory.give(this.#buffer)
    this.#buffer = undefined
  }

  #open(): Uint8Array {
    if (!this.#buffer) throw new Error('a part was used after its release')
    return this.#buffer
  }
}

class FilePart implements PartBuffer {
  length = 0
  #buffer: Uint8Array | undefined

  constructor(
    private readonly file: FileHandle,
    private readonly memory: Memory,
  ) {}

  async append(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        // A disk that fills up takes less than it was given.
        const { bytesWritten } = await this.file.write(bytes, done, bytes.length - done, this.length)
        done += bytesWritten
        this.length += bytesWritten
      }
    } catch (error) {
      throw fromErrno(error)
    }
  }

  async content(): Promise<Uint8Array> {
    this.#buffer ??= await this.memory.take()
    try {
      for (let done = 0; done < this.length; ) {
        const { bytesRead } = await this.file.read(this.#buffer, done, this.length - done, done)
        if (bytesRead === 0) throw new Error('a part on the disk is shorter than what was written')
        done += bytesRead
      }
    } catch (error) {
      throw fromErrno(error)
    }
    return this.#buffer.subarray(0, this.length)
  }

  async release(): Promise<void> {
    if (this.#buffer) this.memory.give(this.#buffer)
    this.#buffer = undefined
    await this.file.close().catch(() => {}) // nothing, if it is closed
  }
}
