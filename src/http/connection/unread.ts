import type { Logger } from 'pino'

/** What a write takes besides its bytes, by and large. In bytes. */
const WRITE_BYTES = 256

/** Bytes that wait for their reader, and since when (`performance.now()`). */
interface Piece {
  bytes: Buffer
  since: number
  next: Piece | undefined
}

/**
 * The memory of what has been sent to listeners and not been read: one budget for all of them. What several have before
 * them counts once. When there is too much, those who are most behind are cut off: who reads has nothing that is old
 * before him, however many others read nothing.
 */
export class Unread {
  readonly #most: number
  readonly #logger: Logger
  #bytes = 0
  /** How many have these bytes before them. */
  readonly #readers = new Map<Buffer, number>()
  readonly #backlogs = new Set<Backlog>()
  #isLooking = false

  /** @param most in bytes */
  constructor(most: number, logger: Logger) {
    this.#most = most
    this.#logger = logger
  }

  /** In bytes. */
  get bytes(): number {
    return this.#bytes
  }

  /** What a new listener has before it. @param drop cuts it off, for the reason that is given */
  open(drop: (reason: string) => void): Backlog {
    return new Backlog(this, drop)
  }

  /** For `Backlog`. */
  add(backlog: Backlog, bytes: Buffer): void {
    this.#backlogs.add(backlog)
    const readers = this.#readers.get(bytes) ?? 0
    this.#readers.set(bytes, readers + 1)
    this.#bytes += WRITE_BYTES + (readers === 0 ? bytes.length : 0)
    if (this.#bytes > this.#most && !this.#isLooking) {
      this.#isLooking = true
      // Not now: what the kernel has taken at once is said to be read when this work is over.
      setImmediate(() => this.#look())
    }
  }

  /** For `Backlog`. */
  remove(backlog: Backlog, bytes: Buffer): void {
    const readers = this.#readers.get(bytes) ?? 1
    if (readers === 1) this.#readers.delete(bytes)
    else this.#readers.set(bytes, readers - 1)
    this.#bytes -= WRITE_BYTES + (readers === 1 ? bytes.length : 0)
    if (backlog.isEmpty) this.#backlogs.delete(backlog)
  }

  #look(): void {
    this.#isLooking = false
    if (this.#bytes <= this.#most) return
    const behind = [...this.#backlogs].sort((a, b) => a.since - b.since)
    let count = 0
    for (const backlog of behind) {
      if (this.#bytes <= this.#most) break
      backlog.drop('too far behind, and too much is unread by all')
      count++
    }
    this.#logger.warn(
      { listeners: count, most: this.#most },
      'listeners were cut off: all together have read too little (STORAGE_MAX_UNREAD)',
    )
  }
}

/** What one listener has not read yet, in order. */
export class Backlog {
  #oldest: Piece | undefined
  #newest: Piece | undefined
  readonly #drop: (reason: string) => void

  constructor(
    private readonly unread: Unread,
    drop: (reason: string) => void,
  ) {
    this.#drop = drop
  }

  get isEmpty(): boolean {
    return this.#oldest === undefined
  }

  /** Since when the oldest of it waits; Infinity when there is nothing. */
  get since(): number {
    return this.#oldest?.since ?? Number.POSITIVE_INFINITY
  }

  /** Bytes are about to be written, whose write calls `read` when the kernel has taken them. */
  add(bytes: Buffer): void {
    const piece = { bytes, since: performance.now(), next: undefined }
    if (this.#newest) this.#newest.next = piece
    else this.#oldest = piece
    this.#newest = piece
    this.unread.add(this, bytes)
  }

  /** The oldest have been taken. */
  readonly read = (): void => {
    const piece = this.#oldest
    if (!piece) return // closed
    this.#oldest = piece.next
    if (!piece.next) this.#newest = undefined
    this.unread.remove(this, piece.bytes)
  }

  /** The listener has gone. */
  close(): void {
    while (this.#oldest) this.read()
  }

  drop(reason: string): void {
    this.close()
    this.#drop(reason)
  }
}
