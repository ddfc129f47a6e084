import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

/** A rest takes so many times as long as the work before it. With 1, uploads were measured a quarter slower. */
const REST_PER_WORK = 4

/** Keeps background work at a fifth of the time, so that requests hardly notice it. */
export class WorkThrottle {
  #since = performance.now()

  constructor(private readonly restPerWork = REST_PER_WORK) {}

  /** Call between pieces of work: waits in proportion to what the last piece took. */
  async rest(): Promise<void> {
    await delay(this.restPerWork * (performance.now() - this.#since))
    this.#since = performance.now()
  }
}

/** Keeps a stream of bytes under a rate. */
export class ByteThrottle {
  #nextAt = performance.now()

  /** @param bytesPerSecond Infinity for no limit */
  constructor(private readonly bytesPerSecond: number) {}

  /** Call after each piece: waits until so many bytes may have passed. */
  async spend(bytes: number): Promise<void> {
    const now = performance.now()
    this.#nextAt = Math.max(this.#nextAt, now) + (bytes / this.bytesPerSecond) * 1000
    if (this.#nextAt - now > SHORTEST_WAIT_MS) await delay(this.#nextAt - now)
  }
}

/** A shorter wait costs more than it is long; the debt is kept. */
const SHORTEST_WAIT_MS = 10

/** So much work is done before the first rest: what is over so soon disturbs nobody for long. In milliseconds of a processor. */
const AT_ONCE_MS = 100

/** How long work goes on between two rests, and the longest of these. In milliseconds. */
const SLICE_MS = 20
const LONGEST_REST_MS = 1000

/** What a burst is rested for at the most, by several rests. In milliseconds. */
const MOST_OWED_MS = 60_000

/** How a process and its machine are doing. */
export interface Load {
  /** For how long this process has had a processor, and others that work for it alone. In milliseconds. */
  usedMs(): number
  /** Whether others leave less than a processor, or less than half of the only one. */
  isBusy(): boolean
}

/** What time it is, and how to wait for another one. In milliseconds. */
export interface Clock {
  now(): number
  wait(ms: number): Promise<unknown>
}

const MACHINE_CLOCK: Clock = { now: () => performance.now(), wait: (ms) => delay(ms) }

/**
 * Lets work of this process take what the processors have to spare, and only a share of one while others want them. For work
 * in which a low priority is not enough: PostgreSQL does a part of it, and some systems weigh groups of processes alone.
 */
export class SpareTime {
  readonly #share: number
  readonly #load: Load
  readonly #clock: Clock
  readonly #freeUntilMs: number
  /** Of rests, as long as others want all processors. */
  #owedMs = 0
  #slice: { at: number; usedMs: number }
  #resting: Promise<void> | undefined

  /** @param share of one processor, for work while others want them all; 1 never rests */
  constructor(share: number, load: Load, clock = MACHINE_CLOCK) {
    this.#share = share
    this.#load = load
    this.#clock = clock
    this.#slice = this.#now()
    this.#freeUntilMs = this.#slice.usedMs + AT_ONCE_MS
  }

  /** Call between small pieces of work: a promise to wait for when it is time for a rest. */
  rest(): Promise<void> | undefined {
    if (this.#share === 1) return undefined
    if (this.#resting === undefined && this.#clock.now() - this.#slice.at < SLICE_MS) return undefined
    this.#resting ??= this.#rest().finally(() => {
      this.#resting = undefined
    })
    return this.#resting
  }

  async #rest(): Promise<void> {
    const { at, usedMs } = this.#slice
    const now = this.#now()
    if (now.usedMs > this.#freeUntilMs && this.#load.isBusy()) {
      const owedMs = this.#owedMs + (now.usedMs - usedMs) / this.#share - (now.at - at)
      const restMs = Math.min(Math.max(owedMs, 0), LONGEST_REST_MS)
      if (restMs > 0) await this.#clock.wait(restMs)
      this.#owedMs = Math.min(Math.max(owedMs, 0) - restMs, MOST_OWED_MS)
    } else this.#owedMs = 0
    this.#slice = this.#now()
  }

  #now(): { at: number; usedMs: number } {
    return { at: this.#clock.now(), usedMs: this.#load.usedMs() }
  }
}

/** How often the machine is asked, which costs a millisecond where there are many processors. */
const LOOK_MS = 500

export class MachineLoad implements Load {
  /** By their ids: other processes that work for this one alone. What they had when they came, and have had since. */
  readonly #helpers = new Map<number, { before: number; usedMs: number }>()
  #last = this.#look()
  /** Until it is known. */
  #isBusy = true

  /** Counts the time of another process of this machine from now on as this one's. Linux only. */
  count(pid: number): void {
    const before = processorMs(pid)
    if (before !== null) this.#helpers.set(pid, { before, usedMs: 0 })
  }

  usedMs(): number {
    const { user, system } = process.cpuUsage()
    let usedMs = (user + system) / 1000
    for (const [pid, helper] of this.#helpers) {
      const now = processorMs(pid)
      if (now !== null) helper.usedMs = now - helper.before
      usedMs += helper.usedMs
    }
    return usedMs
  }

  isBusy(): boolean {
    if (performance.now() - this.#last.at < LOOK_MS) return this.#isBusy
    const { at, usedMs, idleMs } = this.#last
    this.#last = this.#look()
    const elapsedMs = this.#last.at - at
    // What this process takes, others could have.
    const spare = (this.#last.idleMs - idleMs + this.#last.usedMs - usedMs) / elapsedMs
    this.#isBusy = spare < Math.min(1, this.#last.processors / 2)
    return this.#isBusy
  }

  #look() {
    const all = cpus()
    const idleMs = all.reduce((sum, { times }) => sum + times.idle, 0)
    return { at: performance.now(), usedMs: this.usedMs(), idleMs, processors: all.length }
  }
}

/** For how long another process has had a processor, in milliseconds; null when that cannot be told (proc_pid_schedstat(5)). */
function processorMs(pid: number): number | null {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6
  } catch {
    return null
  }
}
