import { Readable, type Writable } from 'node:stream'
import { StorageError } from '../../model/errors.ts'
import type { ByteRange } from '../../model/location.ts'
import { PER_READER, type SendBuffers } from './send-buffers.ts'

/** One read from the disk, when the reader keeps the chunks. In bytes. */
const READ_BYTES = 512 * 1024

/** What can be read like a file: one, or several as one. */
export interface ReadableFile {
  /** As `FileHandle.read`. */
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  close(): Promise<void>
}

/**
 * The bytes of a file, or a part of them, for one reader: as a stream like any other, or by `sendTo`. Closes the file
 * when it ends, breaks or is destroyed. Breaks with MissingBytes when the file has become shorter meanwhile.
 */
export class FileStream extends Readable {
  readonly #file: ReadableFile
  readonly #buffers: SendBuffers
  /** Of the next byte. */
  #position: number
  /** In bytes. */
  #left: number

  /** @param range what the file has, when it is opened */
  constructor(file: ReadableFile, { start, end }: ByteRange, buffers: SendBuffers) {
    super({ highWaterMark: READ_BYTES })
    this.#file = file
    this.#buffers = buffers
    this.#position = start
    this.#left = Math.max(0, end - start + 1)
  }

  override _read(): void {
    if (this.#left === 0) {
      this.push(null)
      return
    }
    this.#fill(Buffer.allocUnsafeSlow(Math.min(READ_BYTES, this.#left))).then(
      (chunk) => this.push(chunk),
      (error: Error) => this.destroy(error),
    )
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // A read that is still running is awaited by Node, so that it cannot read from another file.
    this.#file.close().then(
      () => done(error),
      (failure: Error) => done(error ?? failure),
    )
  }

  /**
   * Sends all to `to`, and ends that; or destroys it, when the bytes cannot be read. Twice as fast as `pipe`: the same
   * memory is used again, once `to` has called back that it needs it no more, as sockets and responses do when the
   * kernel has taken the bytes. Instead of reading the stream, not as well.
   */
  sendTo(to: Writable): void {
    const stop = () => this.destroy()
    to.once('close', stop).once('error', stop)
    this.#buffers.enter()
    this.once('close', () => this.#buffers.leave())
    this.#send(to).catch((error: Error) => {
      to.destroy(error) // never ended: what has come would pass for whole
      this.destroy()
    })
  }

  async #send(to: Writable): Promise<void> {
    let held = 0
    let onReturn = () => {}
    while (this.#left > 0) {
      if (held === PER_READER) {
        await new Promise<void>((resolve) => {
          onReturn = resolve
        })
      }
      if (this.destroyed) return
      const buffer = this.#buffers.take()
      held++
      const chunk = await this.#fill(buffer)
      if (this.destroyed || to.destroyed) return
      to.write(chunk, (error) => {
        if (error) return // what a broken connection still does with it is not known
        this.#buffers.giveBack(buffer)
        held--
        onReturn()
      })
    }
    to.end()
    this.destroy()
  }

  /** Reads the next bytes into `buffer`. @returns the part of it that they fill */
  async #fill(buffer: Buffer): Promise<Buffer> {
    const { bytesRead } = await this.#file.read(
      buffer,
      0,
      Math.min(buffer.length, this.#left),
      this.#position,
    )
    if (bytesRead === 0) throw new StorageError('MissingBytes')
    this.#position += bytesRead
    this.#left -= bytesRead
    return buffer.subarray(0, bytesRead)
  }
}
