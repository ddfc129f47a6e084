/**
 * Memory through which files are sent, used again and again: fresh memory costs as much as a copy of the bytes, since
 * the kernel has to clear it, and is not in the processor's cache. Many readers at once, who may all be slow, get less
 * each.
 */
export class SendBuffers {
  #readers = 0
  #free: Buffer[] = []

  /** Counts a reader until `leave`. */
  enter(): void {
    this.#readers++
  }

  leave(): void {
    this.#readers--
  }

  /** A buffer with anything in it. A reader has `PER_READER` of them at most. */
  take(): Buffer {
    const size = this.#size
    for (let buffer = this.#free.pop(); buffer; buffer = this.#free.pop()) {
      if (buffer.length === size) return buffer
    }
    return Buffer.allocUnsafeSlow(size)
  }

  /** Only when nobody reads or writes it any more. One that is not given back is freed like any other. */
  giveBack(buffer: Buffer): void {
    if (this.#free.length < MAX_FREE && buffer.length === this.#size) this.#free.push(buffer)
  }

  /** Of a buffer, in bytes: a power of two, so that it seldom changes. */
  get #size(): number {
    const share = TOGETHER / PER_READER / Math.max(1, this.#readers)
    return 2 ** Math.floor(Math.log2(Math.min(LARGEST, Math.max(SMALLEST, share))))
  }
}

/** One that is being sent, one to follow, and one that is being read. Two were measured a tenth slower. */
export const PER_READER = 3

/** Measured to a socket: 256 KiB is a third slower, 1 MiB no faster. In bytes. */
const LARGEST = 512 * 1024

/** Below this the calls cost more than the bytes. In bytes. */
const SMALLEST = 32 * 1024

/** What all readers may have, as long as that is not less than `SMALLEST` buffers. In bytes. */
const TOGETHER = 64 * 1024 * 1024

/** Kept when nobody reads: 8 MiB. */
const MAX_FREE = 16
