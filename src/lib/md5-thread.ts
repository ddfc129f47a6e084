import { createHash } from 'node:crypto'
import { freeMemory } from './free-memory.ts'
import { BATCH, type Md5Body, Md5Worker } from './md5-worker.ts'

/*
 * MD5 takes about half as long as all else that is done with a large body, and Node computes it where it is called. Here
 * that is another thread, so that it is done while bytes come, are hashed otherwise, and are written. They are copied
 * for it, since whoever has received them still needs them.
 */

/** What all bodies together may gather before it is a batch, in bytes. */
const GATHERED = 16 * 1024 * 1024

/** However many bodies there are. In bytes. */
const SMALLEST_BATCH = 32 * 1024

/** Tiny chunks weigh more than their bytes. */
const MOST_CHUNKS = 1024

/** Computes the MD5 of any number of bodies. Begins with the first batch of one, and anew if it has died. */
export class Md5Thread {
  readonly #bodies = new Set<ThreadedMd5>()
  #running: Md5Worker | undefined

  /** For one body. Whoever does not ask for its digest has to let it go. */
  begin(): ThreadedMd5 {
    return new ThreadedMd5(this)
  }

  /** Counts a body until `leave`. */
  enter(body: ThreadedMd5): void {
    this.#bodies.add(body)
  }

  leave(body: ThreadedMd5): void {
    this.#bodies.delete(body)
  }

  /** How much a body gathers, in bytes. */
  get batchBytes(): number {
    return Math.min(BATCH, Math.max(SMALLEST_BATCH, GATHERED / Math.max(1, this.#bodies.size)))
  }

  /** What is computed now fails. */
  async close(): Promise<void> {
    await this.#running?.close()
  }

  /** The one that runs, or a new one. */
  thread(): Md5Worker {
    if (this.#running) return this.#running
    const thread = new Md5Worker(() => {
      if (this.#running === thread) this.#running = undefined
    })
    this.#running = thread
    return thread
  }
}

/** The MD5 of one body. */
export class ThreadedMd5 implements Md5Body {
  readonly #owner: Md5Thread
  /** Once there has been a batch. */
  #thread: Md5Worker | undefined
  #id = 0
  #gathered: Uint8Array[] = []
  #gatheredBytes = 0
  /** Needed by nobody but this. */
  #givenBack: Uint8Array[] = []
  /** Up to where those are gone, and up to where all is copied, in bytes of the body. */
  #freedBytes = 0
  #copiedBytes = 0
  #hasEnded = false
  #failure: Error | undefined
  #onRoom = () => {}
  #digest: Promise<Buffer> | undefined
  #settle: { resolve: (digest: Buffer) => void; reject: (error: Error) => void } | undefined

  constructor(owner: Md5Thread) {
    this.#owner = owner
  }

  /**
   * @param chunk must not change any more
   * @param onRoom called once there is room again, or it has failed
   * @returns whether there is room for more now
   * @throws as the thread has ended
   */
  update(chunk: Uint8Array, onRoom: () => void): boolean {
    if (this.#failure) throw this.#failure
    this.#owner.enter(this)
    this.#gathered.push(chunk)
    this.#gatheredBytes += chunk.length
    this.#onRoom = onRoom
    return this.#sendBatches()
  }

  /** The next chunks are needed by nobody else any more: they are freed once they are copied. */
  giveBack(chunks: Uint8Array[]): void {
    this.#givenBack.push(...chunks)
    let count = 0
    for (const { length } of this.#givenBack) {
      if (this.#freedBytes + length > this.#copiedBytes) break
      this.#freedBytes += length
      count += 1
    }
    freeMemory(this.#givenBack.splice(0, count))
  }

  /** Of all, computed from the first call on. @throws as the thread has ended */
  digest(): Promise<Buffer> {
    this.#digest ??= this.#finish()
    return this.#digest
  }

  #finish(): Promise<Buffer> {
    this.#owner.leave(this)
    if (this.#failure) return Promise.reject(this.#failure)
    if (!this.#thread) {
      const hash = createHash('md5')
      for (const chunk of this.#gathered) hash.update(chunk)
      return Promise.resolve(hash.digest())
    }
    this.#hasEnded = true
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject }
      this.#sendBatches()
    })
  }

  /** Nobody wants the digest any more. */
  forget(): void {
    this.#owner.leave(this)
    this.#gathered = []
    this.#givenBack = []
    this.#gatheredBytes = 0
    this.#thread?.leave(this.#id, this)
  }

  /** There is memory for a batch. */
  goOn(): void {
    if (this.#sendBatches()) this.#onRoom()
  }

  succeed(digest: Buffer): void {
    this.#settle?.resolve(digest)
  }

  fail(error: Error): void {
    this.#failure = error
    this.#settle?.reject(error)
    this.#onRoom()
  }

  get #hasBatch(): boolean {
    return this.#gatheredBytes >= this.#owner.batchBytes || this.#gathered.length >= MOST_CHUNKS
  }

  /** @returns whether less is left than a batch has */
  #sendBatches(): boolean {
    if (!this.#thread) {
      if (!this.#hasBatch) return true
      this.#thread = this.#owner.thread()
      this.#id = this.#thread.enter(this)
    }
    const thread = this.#thread
    while (this.#hasBatch || this.#hasEnded) {
      const batch = thread.takeBatch(this)
      if (batch === undefined) return false
      const length = this.#fill(thread.memoryOf(batch))
      const isLast = this.#hasEnded && this.#gatheredBytes === 0
      thread.order({ id: this.#id, batch, length, next: isLast ? 'digest' : 'more' })
      if (isLast) return true
    }
    return true
  }

  /** @returns how many bytes it has moved */
  #fill(batch: Buffer): number {
    let length = 0
    let taken = 0
    for (const chunk of this.#gathered) {
      const room = batch.length - length
      if (chunk.length > room) {
        copy(chunk.subarray(0, room), batch, length)
        this.#gathered[taken] = chunk.subarray(room)
        length += room
        break
      }
      copy(chunk, batch, length)
      length += chunk.length
      taken += 1
    }
    this.#gathered = this.#gathered.slice(taken)
    this.#gatheredBytes -= length
    this.#copiedBytes += length
    return length
  }
}

/** Into memory that is shared, where `set` takes more than twice as long. */
function copy(bytes: Uint8Array, target: Buffer, at: number): void {
  if (bytes.length > 0) target.fill(bytes, at, at + bytes.length)
}
