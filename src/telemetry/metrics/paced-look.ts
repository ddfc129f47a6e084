import { isSettledWithin } from '../../lib/settled-within.ts'

export interface PaceOptions {
  /** From the end of one look to the next, at the least. In milliseconds. */
  everyMs: number
  /** How many times as long as a look has taken it rests, if that is more; and how long at the most, in milliseconds. */
  restPerWork: number
  mostMs: number
  /** How long who asks waits for a look; then the one before has to do. In milliseconds. */
  patienceMs: number
}

/**
 * What costs too much to be looked for whenever somebody asks: it is looked for now and then, and only if somebody asks. One
 * look at a time, however many ask; and nobody waits long, whatever is the matter with what is looked at.
 */
export class PacedLook<T> {
  readonly #look: () => Promise<T>
  readonly #options: PaceOptions
  #last: { found: T; at: number } | undefined
  #underWay: Promise<void> | undefined
  #nextAt = 0
  /** Whether the last look has come to its end, and in time. */
  #isAnswered = false

  constructor(look: () => Promise<T>, options: PaceOptions) {
    this.#look = look
    this.#options = options
  }

  /** What was found last, if anything ever was, how old it is, and whether the look before this moment was answered. */
  async find(): Promise<{ found: T | undefined; ageSeconds: number; isAnswered: boolean }> {
    if (!this.#underWay && performance.now() >= this.#nextAt) {
      this.#underWay = this.#run().finally(() => {
        this.#underWay = undefined
      })
    }
    const underWay = this.#underWay
    if (underWay && !(await isSettledWithin(underWay, this.#options.patienceMs))) this.#isAnswered = false
    const last = this.#last
    return {
      found: last?.found,
      ageSeconds: last ? (performance.now() - last.at) / 1000 : 0,
      isAnswered: this.#isAnswered,
    }
  }

  /** Never fails. */
  async #run(): Promise<void> {
    const { everyMs, restPerWork, mostMs } = this.#options
    const startedAt = performance.now()
    try {
      const found = await this.#look()
      this.#last = { found, at: startedAt }
      this.#isAnswered = true
    } catch {
      this.#isAnswered = false // which is what who asks is told
    }
    const now = performance.now()
    this.#nextAt = now + Math.max(everyMs, Math.min(restPerWork * (now - startedAt), mostMs))
  }
}
