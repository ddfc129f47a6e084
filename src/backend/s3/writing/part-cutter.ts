import type { PartBuffer, PartBuffers } from './part-buffers.ts'

/**
 * Cuts a stream into parts of equal length, the last one aside. A part is sent once there are bytes after it, so
 * that what is left at the end is never empty, and is the whole body when that fits into one part.
 */
export class PartCutter {
  /** Kept as it came: most bodies have no more than one batch, and need no buffer of a whole part. */
  #first: Uint8Array[] | undefined
  #current: PartBuffer | undefined

  constructor(
    private readonly buffers: PartBuffers,
    /** Takes over the part, and has to release it. */
    private readonly send: (part: PartBuffer) => Promise<void>,
  ) {}

  /** How many bytes came after the last part that was sent, at most a part. */
  get restLength(): number {
    return this.#current?.length ?? lengthOf(this.#first ?? [])
  }

  async take(batch: Uint8Array[]): Promise<void> {
    if (!this.#first && !this.#current && lengthOf(batch) <= this.buffers.partSize) {
      this.#first = batch
      return
    }
    await this.#unpackFirst()
    for (const chunk of batch) await this.#append(chunk)
  }

  /** The bytes after the last part that was sent, in memory until `release`. */
  async rest(): Promise<Uint8Array> {
    if (this.#current) return this.#current.content()
    const first = this.#first ?? []
    return first.length === 1 && first[0] ? first[0] : Buffer.concat(first)
  }

  /** Hands the last part over, to be sent like the others. */
  async sendRest(): Promise<void> {
    await this.#unpackFirst()
    const last = this.#current
    this.#current = undefined
    if (last) await this.send(last)
  }

  async release(): Promise<void> {
    await this.#current?.release()
  }

  async #unpackFirst(): Promise<void> {
    const first = this.#first ?? []
    this.#first = undefined
    for (const chunk of first) await this.#append(chunk)
  }

  async #append(chunk: Uint8Array): Promise<void> {
    const { partSize } = this.buffers
    for (let rest = chunk; rest.length > 0; ) {
      if (this.#current?.length === partSize) await this.sendRest()
      this.#current ??= await this.buffers.open()
      const fitting = rest.subarray(0, partSize - this.#current.length)
      await this.#current.append(fitting)
      rest = rest.subarray(fitting.length)
    }
  }
}

function lengthOf(chunks: Uint8Array[]): number {
  return chunks.reduce((length, chunk) => length + chunk.length, 0)
}
