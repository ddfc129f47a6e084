import { StorageError } from './errors.ts'

export interface TurnsOptions {
  /** Works at once. */
  places: number
  /** Of these, for one asker. */
  placesEach: number
  /** Works that wait for a place. */
  waiting: number
  /** Of these, of one asker. */
  waitingEach: number
  /** How long one waits at most, in milliseconds. */
  waitMs: number
}

interface Asker {
  name: string
  running: number
  /** Each is called when its turn has come. */
  waiting: (() => void)[]
}

/**
 * Places for work that takes long. Free ones go to the askers in turn, and nobody has all of them: who asks for much
 * waits behind what they have asked for themselves.
 */
export class Turns {
  readonly #options: TurnsOptions
  /** Whose work runs or waits; first comes whose last turn, or arrival, is longest ago. */
  readonly #askers = new Map<string, Asker>()
  #running = 0
  #waiting = 0

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /** Runs `work` when it is the asker's turn. @throws TooManyQuestions, before `work` has begun */
  async during<T>(name: string, work: () => Promise<T>): Promise<T> {
    const asker = this.#askers.get(name) ?? { name, running: 0, waiting: [] }
    if (this.#hasPlaceFor(asker)) this.#begin(asker)
    else await this.#turnOf(asker)
    try {
      return await work()
    } finally {
      asker.running--
      this.#running--
      this.#forgetIdle(asker)
      this.#giveTurn()
    }
  }

  #hasPlaceFor({ running }: Asker): boolean {
    return this.#running < this.#options.places && running < this.#options.placesEach
  }

  /** Takes a place, and goes behind all others who ask. */
  #begin(asker: Asker): void {
    asker.running++
    this.#running++
    this.#askers.delete(asker.name)
    this.#askers.set(asker.name, asker)
  }

  /** Resolves with a place taken. */
  async #turnOf(asker: Asker): Promise<void> {
    const { waiting, waitingEach, waitMs } = this.#options
    if (this.#waiting >= waiting || asker.waiting.length >= waitingEach) throw tooMany()
    this.#askers.set(asker.name, asker)
    this.#waiting++
    let timer: NodeJS.Timeout | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        asker.waiting.push(resolve)
        timer = setTimeout(() => {
          asker.waiting.splice(asker.waiting.indexOf(resolve), 1)
          this.#forgetIdle(asker)
          reject(tooMany())
        }, waitMs)
      })
    } finally {
      clearTimeout(timer)
      this.#waiting--
    }
  }

  #giveTurn(): void {
    for (const asker of this.#askers.values()) {
      if (asker.waiting.length === 0 || !this.#hasPlaceFor(asker)) continue
      this.#begin(asker)
      asker.waiting.shift()?.()
      return
    }
  }

  #forgetIdle({ name, running, waiting }: Asker): void {
    if (running === 0 && waiting.length === 0) this.#askers.delete(name)
  }
}

function tooMany(): StorageError {
  return new StorageError('TooManyQuestions')
}
