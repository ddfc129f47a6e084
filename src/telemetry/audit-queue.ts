import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { isSettledWithin } from '../lib/settled-within.ts'
import type { AuditEntry } from './audit-entry.ts'
import type { AuditFiles } from './audit-files.ts'
import { AuditRefusals, REFUSAL_LIMITS, type RefusalLimits } from './audit-refusals.ts'

export interface AuditLimits {
  /** Entries written at once. */
  batch: number
  /** No entry waits for longer, while the database takes them. In milliseconds. */
  flushMs: number
  /** After a failure it is tried again, in milliseconds. */
  retryMs: number
  /** Entries that wait. Beyond them reads are dropped, and writes go into a file. */
  waiting: number
  /** Entries in memory when not even files take them; more are lost, and said to be. */
  most: number
  /** How long what has failed is counted together, in milliseconds. */
  windowMs: number
  /** How long the end waits for the database, in milliseconds. */
  closeMs: number
  refusals: RefusalLimits
}

export const AUDIT_LIMITS: AuditLimits = {
  batch: 1000,
  // A second is what a killed server may lose, the way to the database included.
  flushMs: 500,
  retryMs: 2000,
  waiting: 10_000,
  most: 100_000,
  windowMs: 60_000,
  closeMs: 5000,
  refusals: REFUSAL_LIMITS,
}

export interface AuditQueueOptions {
  /** Stores entries, some of which may be there already. */
  write(entries: AuditEntry[]): Promise<void>
  files: AuditFiles
  logger: Logger
  limits?: AuditLimits
}

/**
 * Entries on their way into the audit log: gathered off the path of requests, which never wait for them, nor fail with them.
 * What was written is not lost while this process lives, or ends in order.
 */
export class AuditQueue {
  readonly #options: AuditQueueOptions
  readonly #limits: AuditLimits
  readonly #refusals: AuditRefusals
  #waiting: AuditEntry[] = []
  /** What the database has been given, and has not answered yet. */
  #underWay: AuditEntry[] = []
  #dropped = 0
  #lost = 0
  /** Whether the database did not take the last batch. */
  #isFailing = false
  /** Whether there may be files; from before this process, too. */
  #hasFiles = true
  #work: Promise<void> | undefined
  #keeping: Promise<void> | undefined
  #isClosed = false
  #timer: NodeJS.Timeout | undefined
  #window: NodeJS.Timeout | undefined

  constructor(options: AuditQueueOptions) {
    this.#options = options
    this.#limits = options.limits ?? AUDIT_LIMITS
    this.#refusals = new AuditRefusals(this.#limits.refusals)
  }

  /** Brings in what an earlier process has left. */
  start(): void {
    this.#wake(0)
  }

  /** Something that was done, and is not dropped. */
  add(entry: AuditEntry): void {
    this.#waiting.push(entry)
    const { length } = this.#waiting
    if (length >= this.#limits.waiting) this.#overflow()
    else if (length >= this.#limits.batch && !this.#isFailing) this.#flush()
    else this.#wake(this.#limits.flushMs)
  }

  /** Something that was read: dropped and counted when there is no room. */
  addRead(entry: AuditEntry): void {
    if (this.#waiting.length >= this.#limits.waiting) this.#dropped++
    else this.add(entry)
  }

  /** Something that has failed: one of many by the same subject is only counted. */
  addRefused(entry: AuditEntry): void {
    this.#window ??= setTimeout(() => this.#endWindow(), this.#limits.windowMs).unref()
    if (this.#refusals.admit(entry)) this.addRead(entry)
  }

  /** Writes what waits, into a file if the database does not take it. Nothing may be added any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#endWindow()
    clearTimeout(this.#timer)
    this.#timer = undefined
    const working = (this.#work ?? Promise.resolve()).then(() => this.#write())
    const isDone = await isSettledWithin(working, this.#limits.closeMs)
    // What may be under way is kept as well: twice is once.
    const left = isDone ? [] : this.#underWay
    await this.#keeping
    await this.#keep([...left, ...this.#waiting.splice(0)])
  }

  #endWindow(): void {
    clearTimeout(this.#window)
    this.#window = undefined
    for (const entry of this.#refusals.take()) this.add(entry)
  }

  #wake(afterMs: number): void {
    if (this.#isClosed) return
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#flush()
    }, afterMs).unref()
  }

  #flush(): void {
    this.#work ??= this.#write().finally(() => {
      this.#work = undefined
      if (this.#isFailing) this.#wake(this.#limits.retryMs)
      else if (this.#waiting.length > 0) this.#wake(this.#limits.flushMs)
    })
  }

  /** Writes all that waits, until the database does not take it. Never fails. */
  async #write(): Promise<void> {
    const { write, files, logger } = this.#options
    try {
      while (this.#waiting.length > 0 || this.#dropped > 0) {
        this.#noteDropped()
        this.#underWay = this.#waiting.splice(0, this.#limits.batch)
        await write(this.#underWay)
        this.#underWay = []
      }
      if (this.#hasFiles) {
        this.#hasFiles = false
        await files.restore(async (entries) => {
          for (let at = 0; at < entries.length; at += this.#limits.batch) {
            await write(entries.slice(at, at + this.#limits.batch))
          }
        })
      }
      if (this.#isFailing) logger.info({}, 'the audit log is written again')
      this.#isFailing = false
    } catch (error) {
      this.#hasFiles = true
      this.#waiting.unshift(...this.#underWay)
      this.#underWay = []
      if (!this.#isFailing)
        logger.error({ err: error }, 'the audit log cannot be written; its entries are kept')
      this.#isFailing = true
    }
  }

  /** Makes room: what was done goes into a file. What was read cannot be told from it any more, and goes along. */
  #overflow(): void {
    if (!this.#isFailing) this.#flush()
    if (this.#keeping) {
      if (this.#waiting.length > this.#limits.most) {
        this.#waiting.pop()
        this.#lose(1)
      }
      return
    }
    const entries = this.#waiting.splice(0)
    this.#keeping = this.#keep(entries).finally(() => {
      this.#keeping = undefined
    })
  }

  /** Never fails. What no file takes stays in memory, as much as may. */
  async #keep(entries: AuditEntry[]): Promise<void> {
    if (entries.length === 0) return
    try {
      await this.#options.files.keep(entries)
      this.#hasFiles = true
      if (!this.#isFailing) this.#wake(this.#limits.flushMs)
    } catch (error) {
      this.#options.logger.error({ err: error }, 'entries of the audit log could not be kept in a file')
      const room = Math.max(0, this.#limits.most - this.#waiting.length)
      this.#waiting.unshift(...entries.slice(0, room))
      this.#lose(entries.length - room)
      this.#wake(this.#limits.retryMs) // perhaps nothing else waits any more
    }
  }

  #lose(count: number): void {
    if (count <= 0) return
    if (this.#lost === 0) this.#options.logger.error({}, 'entries of the audit log are lost')
    this.#lost += count
  }

  /** Says in the log itself what is not in it. */
  #noteDropped(): void {
    const repeated = this.#dropped + this.#lost
    if (repeated === 0) return
    this.#dropped = 0
    this.#lost = 0
    this.#options.logger.warn({ dropped: repeated }, 'entries of the audit log were dropped')
    this.#waiting.push({
      at: new Date().toISOString(),
      id: randomUUID(),
      action: 'dropped',
      resource_type: 'audit',
      allowed: true,
      status: 503,
      repeated,
    })
  }
}
