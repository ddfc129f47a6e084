import { createHash } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { freeMemory } from './free-memory.ts'

/*
 * MD5 takes about half as long as all else that is done with a large body, and Node computes it where it is called. Here
 * that is another thread, so that it is done while bytes come, are hashed otherwise, and are written. They are copied
 * for it, since whoever has received them still needs them.
 */

/** In bytes. Smaller ones cost in messages what they save in memory; larger ones gain nothing. */
const BATCH = 512 * 1024

/** Batches that the thread has at most, of all bodies together: 16 MiB. With 4 MiB a busy machine made bodies wait. */
const MOST_BATCHES = 32

/** What all bodies together may gather before it is a batch, in bytes. */
const GATHERED = 16 * 1024 * 1024

/** However many bodies there are. In bytes. */
const SMALLEST_BATCH = 32 * 1024

/** Tiny chunks weigh more than their bytes. */
const MOST_CHUNKS = 1024

/** What the thread is told of one body. */
interface Order {
  id: number
  /** Given away, and given back. */
  batch?: ArrayBuffer
  /** Of the bytes in the batch. */
  length: number
  next: 'more' | 'digest' | 'forget'
}

interface Done {
  id: number
  batch?: ArrayBuffer
  digest?: Uint8Array
}

/** By how much it is nicer than others: it has a tenth of a core where the others want all (sched(7), "The nice value"). */
const LESS_URGENT = 10

/**
 * Text, since a file would have another name when it is built than when it is tested.
 *
 * Whoever receives the bytes goes first, where there are no cores for both: what is left of their MD5 then is computed while
 * they are flushed. Threads have priorities of their own with Linux alone (setpriority(2)); elsewhere 0 is the whole process.
 */
const CODE = `
  const { createHash } = require('node:crypto')
  const { getPriority, setPriority } = require('node:os')
  const { parentPort } = require('node:worker_threads')
  try {
    if (process.platform === 'linux') setPriority(0, Math.min(19, getPriority(0) + ${LESS_URGENT}))
  } catch {} // a sandbox may forbid it
  const hashes = new Map()
  parentPort.on('message', ({ id, batch, length, next }) => {
    if (next === 'forget') return hashes.delete(id)
    const hash = hashes.get(id) ?? createHash('md5')
    if (batch) hash.update(new Uint8Array(batch, 0, length))
    if (next === 'more') hashes.set(id, hash)
    else hashes.delete(id)
    const digest = next === 'digest' ? hash.digest() : undefined
    parentPort.postMessage({ id, batch, digest }, batch ? [batch] : [])
  })
`

/** Computes the MD5 of any number of bodies. Begins with the first batch of one, and anew if it has died. */
export class Md5Thread {
  readonly #bodies = new Set<ThreadedMd5>()
  #running: RunningThread | undefined

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
    await this.#running?.worker.terminate()
  }

  /** The one that runs, or a new one. */
  thread(): RunningThread {
    if (this.#running) return this.#running
    const thread = new RunningThread(() => {
      if (this.#running === thread) this.#running = undefined
    })
    this.#running = thread
    return thread
  }
}

class RunningThread {
  readonly worker: Worker
  /** Of which something is there, by number. */
  readonly #bodies = new Map<number, ThreadedMd5>()
  /** Those that have a batch for it, and have to wait. */
  readonly #waiting = new Set<ThreadedMd5>()
  readonly #free: ArrayBuffer[] = []
  #batches = 0
  #lastId = 0

  constructor(onEnd: () => void) {
    // Nothing of how this process was started is for it.
    this.worker = new Worker(CODE, { eval: true, execArgv: [], name: 'md5' })
    this.worker.unref()
    const end = (error: Error) => {
      onEnd()
      for (const body of this.#bodies.values()) body.fail(error)
      this.#bodies.clear()
    }
    this.worker
      .on('message', (done: Done) => this.#onDone(done))
      .on('error', end)
      .on('exit', (code) => end(new Error(`The thread that computes MD5 has ended with ${code}`)))
  }

  /** @returns its number */
  enter(body: ThreadedMd5): number {
    this.#lastId += 1
    this.#bodies.set(this.#lastId, body)
    return this.#lastId
  }

  leave(id: number, body: ThreadedMd5): void {
    this.#waiting.delete(body)
    if (this.#bodies.delete(id)) this.order({ id, length: 0, next: 'forget' })
  }

  /** Memory for a batch; without it, the body is told when there is some. */
  takeBatch(body: ThreadedMd5): ArrayBuffer | undefined {
    const free = this.#free.pop()
    if (!free && this.#batches === MOST_BATCHES) {
      this.#waiting.add(body)
      return undefined
    }
    this.#waiting.delete(body)
    if (free) return free
    this.#batches += 1
    return new ArrayBuffer(BATCH)
  }

  order(order: Order): void {
    this.worker.postMessage(order, order.batch ? [order.batch] : [])
  }

  #onDone({ id, batch, digest }: Done): void {
    if (batch) this.#free.push(batch)
    if (digest) {
      this.#bodies.get(id)?.succeed(Buffer.from(digest))
      this.#bodies.delete(id)
    }
    for (const next of this.#waiting) {
      if (this.#free.length === 0) return
      this.#waiting.delete(next)
      next.goOn() // and to the end of the queue, if it needs another one
    }
  }
}

/** The MD5 of one body. */
export class ThreadedMd5 {
  readonly #owner: Md5Thread
  /** Once there has been a batch. */
  #thread: RunningThread | undefined
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
    while (this.#hasBatch || (this.#hasEnded && this.#gatheredBytes > 0)) {
      const batch = thread.takeBatch(this)
      if (!batch) return false
      const length = this.#fill(new Uint8Array(batch))
      const next = this.#hasEnded && this.#gatheredBytes === 0 ? 'digest' : 'more'
      thread.order({ id: this.#id, batch, length, next })
      if (next === 'digest') return true
    }
    if (this.#hasEnded) thread.order({ id: this.#id, length: 0, next: 'digest' })
    return true
  }

  /** @returns how many bytes it has moved */
  #fill(batch: Uint8Array): number {
    let length = 0
    let taken = 0
    for (const chunk of this.#gathered) {
      const room = batch.length - length
      if (chunk.length > room) {
        batch.set(chunk.subarray(0, room), length)
        this.#gathered[taken] = chunk.subarray(room)
        length += room
        break
      }
      batch.set(chunk, length)
      length += chunk.length
      taken += 1
    }
    this.#gathered = this.#gathered.slice(taken)
    this.#gatheredBytes -= length
    this.#copiedBytes += length
    return length
  }
}
