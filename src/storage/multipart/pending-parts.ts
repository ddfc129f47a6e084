/**
 * Parts that are on their way to this server, so that they count before they are here: many at once are together no more
 * than one after the other. Those on their way to other servers are unknown until they are kept, which is judged again.
 */
export class PendingParts {
  /** Of each upload the bytes that its numbers bring. */
  readonly #bytes = new Map<string, Map<number, number>>()

  /** Of an upload's other parts, in bytes. A part that is sent once more takes its own place. */
  others(version: string, number: number): number {
    let sum = 0
    for (const [other, bytes] of this.#bytes.get(version) ?? []) if (other !== number) sum += bytes
    return sum
  }

  /** Runs `work`, which brings that many bytes. */
  async during<T>(version: string, number: number, bytes: number, work: () => Promise<T>): Promise<T> {
    const numbers = this.#bytes.get(version) ?? new Map<number, number>()
    this.#bytes.set(version, numbers)
    numbers.set(number, (numbers.get(number) ?? 0) + bytes)
    try {
      return await work()
    } finally {
      const left = (numbers.get(number) ?? 0) - bytes
      if (left > 0) numbers.set(number, left)
      else numbers.delete(number)
      if (numbers.size === 0) this.#bytes.delete(version)
    }
  }
}
