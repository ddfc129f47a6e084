/** Work that goes on in the background, a few pieces at once. The first failure breaks the others off. */
export class Background {
  readonly #breaker = new AbortController()
  readonly #running = new Set<Promise<void>>()
  #failure: { reason: unknown } | undefined

  /** @param atOnce how many pieces */
  constructor(private readonly atOnce: number) {}

  /**
   * Begins a piece of work. Resolves once there is room for one more.
   *
   * @param work is to end soon when the signal is aborted
   * @throws what this piece or an earlier one has thrown
   */
  async add(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const piece = work(this.#breaker.signal)
      .catch((reason: unknown) => {
        this.#failure ??= { reason }
        this.#breaker.abort(reason) // the others would be in vain
      })
      .finally(() => this.#running.delete(piece))
    this.#running.add(piece)
    while (this.#running.size >= this.atOnce) await Promise.race(this.#running)
    if (this.#failure) throw this.#failure.reason
  }

  /** Resolves once all is done. @throws what any piece has thrown */
  async done(): Promise<void> {
    await Promise.all(this.#running)
    if (this.#failure) throw this.#failure.reason
  }

  /** Resolves once nothing is going on any more. */
  async breakOff(reason: Error): Promise<void> {
    this.#breaker.abort(reason)
    await Promise.all(this.#running)
  }
}
