import { Readable } from 'node:stream'

/**
 * The bytes of a part that goes on to the store as it comes. In memory is what has not gone yet, and the first bytes as
 * long as they are all: while nothing more has gone, a request that fails can be made again, with the same bytes.
 *
 * The last bytes are held back until the whole part has come: the store must not take for a part what has broken at its end.
 */
export class PassingPart {
  readonly #size: number
  readonly #mostKept: number
  /** What has gone, from the first byte on; null when that has become too much. */
  #gone: Uint8Array[] | null = []
  #goneBytes = 0
  #waiting: Uint8Array[] = []
  #hasEnded = false
  #failure: { reason: unknown } | undefined
  #request: Readable | undefined
  /** Whether the request takes more. */
  #isWanted = false
  #settle: { resolve: () => void; reject: (reason: unknown) => void } | undefined

  /** @param mostKept of the first bytes, for another attempt. Both in bytes */
  constructor({ size, mostKept }: { size: number; mostKept: number }) {
    this.#size = size
    this.#mostKept = mostKept
  }

  /** Whether all that has gone is still here. */
  get canRepeat(): boolean {
    return this.#gone !== null
  }

  /** What a request is to send, from the first byte on; one at a time. */
  open(): Readable {
    if (!this.#gone) throw new Error('The first bytes of a part are gone')
    this.#waiting = [...this.#gone, ...this.#waiting]
    this.#gone = []
    this.#goneBytes = 0
    this.#isWanted = false
    this.#request = new Readable({
      read: () => {
        this.#isWanted = true
        this.#give()
      },
      destroy: (error, done) => {
        this.#isWanted = false
        done(error)
      },
    })
    return this.#request
  }

  /** Takes the next bytes. Resolves once there is room for more. @throws the reason of `fail` */
  async take(batch: Uint8Array[]): Promise<void> {
    if (this.#failure) throw this.#failure.reason
    this.#waiting.push(...batch)
    const gone = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.#give()
    await gone
  }

  /** All bytes have come. */
  end(): void {
    this.#hasEnded = true
    this.#give()
  }

  /** No request takes any more bytes. */
  fail(reason: unknown): void {
    this.#failure = { reason }
    this.#settle?.reject(reason)
  }

  #give(): void {
    let next = this.#next
    for (; this.#isWanted && next; next = this.#next) {
      this.#waiting.shift()
      this.#keep(next)
      this.#isWanted = this.#request?.push(next) ?? false
    }
    if (next) return
    if (this.#hasEnded) this.#request?.push(null)
    this.#settle?.resolve()
  }

  /** What may go now. */
  get #next(): Uint8Array | undefined {
    const [next] = this.#waiting
    const isLast = next && this.#goneBytes + next.length === this.#size
    return isLast && !this.#hasEnded ? undefined : next
  }

  #keep(bytes: Uint8Array): void {
    this.#goneBytes += bytes.length
    if (this.#goneBytes > this.#mostKept) this.#gone = null
    this.#gone?.push(bytes)
  }
}
