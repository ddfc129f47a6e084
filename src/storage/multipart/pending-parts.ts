/** A part that is on its way. */
export interface PendingPart {
  version: string
  number: number
  /** Whose unfinished uploads it is counted with; null counts for nobody. */
  share: string | null
  /** In bytes. */
  size: number
}

/**
 * Parts that are on their way to this server, so that they count before they are here: many at once are together no more
 * than one after the other. Those on their way to other servers are unknown until they are kept, which is judged again.
 */
export class PendingParts {
  readonly #parts = new Set<PendingPart>()

  /** Of an upload's other parts, in bytes. A part that is sent once more takes its own place. */
  others(version: string, number: number): number {
    return this.#sum((part) => part.version === version && part.number !== number)
  }

  /** Of all parts of a share, in bytes: each has its room until it is kept, also one that is sent once more. */
  ofShare(share: string | null): number {
    return this.#sum((part) => part.share === share)
  }

  #sum(isMeant: (part: PendingPart) => boolean): number {
    let sum = 0
    for (const part of this.#parts) if (isMeant(part)) sum += part.size
    return sum
  }

  /** Runs `work`, which brings the part. */
  async during<T>(part: PendingPart, work: () => Promise<T>): Promise<T> {
    this.#parts.add(part)
    try {
      return await work()
    } finally {
      this.#parts.delete(part)
    }
  }
}
