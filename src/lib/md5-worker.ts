import { Worker } from 'node:worker_threads'

/*
 * The thread that computes MD5, and the memory that it shares with the one that receives. That copies bytes into a batch,
 * notes beside it what is to be done with them, and raises a number that the thread sleeps on; the thread does it and raises
 * another. A message for each batch, to and fro, was more work for both than copying it, and memory that is transferred
 * counts in V8's heap on the way, which then is looked through for it.
 */

/** In bytes. Smaller ones cost in orders what they save in memory; larger ones gain nothing. */
export const BATCH = 512 * 1024

/**
 * Batches of all bodies together: 16 MiB. With 4 MiB a busy machine made bodies wait; more than can be computed while the
 * bytes are flushed gain nothing. A power of two.
 */
const MOST_BATCHES = 32

/** What is to be done with a body, once its MD5 has the bytes of a batch. */
export const NEXT = { more: 0, digest: 1, forget: 2 } as const

export interface Order {
  /** Of the body. */
  id: number
  /** By its number, with `length` bytes in it. */
  batch: number
  length: number
  next: keyof typeof NEXT
}

/**
 * What is where in the numbers that both share: how many orders were given, and done; whether somebody waits for one to be
 * done; and the orders, each in four numbers.
 */
const GIVEN = 0
const DONE = 1
const IS_AWAITED = 2
const ORDERS = 3
const ORDER = 4

/** What is counted as if it had been before: numbers go on at -2^31 from 2^31, and if they did not it would be seen at once. */
const BEFORE = 2 ** 31 - 8

/** What the thread says: a digest, or that one more order is done. */
interface Told {
  id: number
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
  const { parentPort, workerData: { control, batches } } = require('node:worker_threads')
  try {
    if (process.platform === 'linux') setPriority(0, Math.min(19, getPriority(0) + ${LESS_URGENT}))
  } catch {} // a sandbox may forbid it
  const hashes = new Map()
  for (let done = ${BEFORE}; ; ) {
    while (Atomics.load(control, ${GIVEN}) === done) Atomics.wait(control, ${GIVEN}, done)
    const at = ${ORDERS} + ${ORDER} * (done & ${MOST_BATCHES - 1})
    const [id, batch, length, next] = control.subarray(at, at + ${ORDER})
    const hash = hashes.get(id) ?? createHash('md5')
    hash.update(batches.subarray(batch * ${BATCH}, batch * ${BATCH} + length))
    if (next === ${NEXT.more}) hashes.set(id, hash)
    else hashes.delete(id)
    if (next === ${NEXT.digest}) parentPort.postMessage({ id, digest: hash.digest() })
    done = (done + 1) | 0
    Atomics.store(control, ${DONE}, done)
    if (Atomics.exchange(control, ${IS_AWAITED}, 0) === 1) parentPort.postMessage({ id })
  }
`

/** Whose MD5 it is. */
export interface Md5Body {
  /** There is a batch now. */
  goOn(): void
  succeed(digest: Buffer): void
  /** The thread has ended. */
  fail(error: Error): void
}

export class Md5Worker {
  readonly #worker: Worker
  /** Of which something is there, by number. */
  readonly #bodies = new Map<number, Md5Body>()
  /** Those that have bytes for it, and no batch. */
  readonly #waiting = new Set<Md5Body>()
  /** Bodies that nobody wants any more, by number, which it does not know yet. */
  readonly #forgotten: number[] = []
  readonly #control = new Int32Array(new SharedArrayBuffer(4 * (ORDERS + ORDER * MOST_BATCHES)))
  readonly #batches = Buffer.from(new SharedArrayBuffer(BATCH * MOST_BATCHES))
  /** The last one first: it may be in the processor's cache. */
  readonly #free = Array.from({ length: MOST_BATCHES }, (_, batch) => batch)
  #given = BEFORE
  #done = BEFORE
  #lastId = 0

  constructor(onEnd: () => void) {
    this.#control.set([BEFORE, BEFORE]) // GIVEN, DONE
    const workerData = { control: this.#control, batches: this.#batches }
    // Nothing of how this process was started is for it.
    this.#worker = new Worker(CODE, { eval: true, execArgv: [], name: 'md5', workerData })
    this.#worker.unref()
    const end = (error: Error) => {
      onEnd()
      for (const body of this.#bodies.values()) body.fail(error)
      this.#bodies.clear()
    }
    this.#worker
      .on('message', (told: Told) => this.#onTold(told))
      .on('error', end)
      .on('exit', (code) => end(new Error(`The thread that computes MD5 has ended with ${code}`)))
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  /** @returns its number */
  enter(body: Md5Body): number {
    this.#lastId = (this.#lastId + 1) | 0
    this.#bodies.set(this.#lastId, body)
    return this.#lastId
  }

  leave(id: number, body: Md5Body): void {
    this.#waiting.delete(body)
    if (!this.#bodies.delete(id)) return
    this.#forgotten.push(id)
    this.#orderForgotten()
  }

  /** The number of a batch that is free now; without one, the body is told when there is. It is for an order given at once. */
  takeBatch(body: Md5Body): number | undefined {
    const batch = this.#takeFree()
    if (batch === undefined) this.#waiting.add(body)
    else this.#waiting.delete(body)
    return batch
  }

  memoryOf(batch: number): Buffer {
    return this.#batches.subarray(batch * BATCH, (batch + 1) * BATCH)
  }

  /** Done in the order in which they are given. The batch is free again then. */
  order({ id, batch, length, next }: Order): void {
    this.#control.set([id, batch, length, NEXT[next]], orderAt(this.#given))
    this.#given = (this.#given + 1) | 0
    Atomics.store(this.#control, GIVEN, this.#given)
    Atomics.notify(this.#control, GIVEN)
  }

  #takeFree(): number | undefined {
    return this.#hasFree() ? this.#free.pop() : undefined
  }

  /** If not, the thread will say when there is one. */
  #hasFree(): boolean {
    this.#takeBack()
    if (this.#free.length > 0) return true
    Atomics.store(this.#control, IS_AWAITED, 1)
    this.#takeBack() // it may have done one before it could see that
    return this.#free.length > 0
  }

  /** The batches of all that is done are free. */
  #takeBack(): void {
    const done = Atomics.load(this.#control, DONE)
    for (; this.#done !== done; this.#done = (this.#done + 1) | 0) {
      this.#free.push(this.#control[orderAt(this.#done) + 1] as number) // as many orders are kept as there are batches
    }
  }

  #onTold({ id, digest }: Told): void {
    if (digest) {
      this.#bodies.get(id)?.succeed(Buffer.from(digest))
      this.#bodies.delete(id)
    }
    this.#orderForgotten()
    for (const next of this.#waiting) {
      if (!this.#hasFree()) return
      this.#waiting.delete(next)
      next.goOn() // and to the end of the queue, if it needs another one
    }
  }

  #orderForgotten(): void {
    while (this.#forgotten.length > 0) {
      const batch = this.#takeFree()
      if (batch === undefined) return
      this.order({ id: this.#forgotten.pop() as number, batch, length: 0, next: 'forget' })
    }
  }
}

/** Where the order is before which `count` were given. */
function orderAt(count: number): number {
  return ORDERS + ORDER * (count & (MOST_BATCHES - 1))
}
