import { StorageError } from './errors.ts'

export interface FairQueueOptions {
  /** Places of one asker, at most. */
  placesEach: number
  /** Works of one asker in one place, one behind the other, as long as they are quick. */
  depth: number
  /** Works that wait for a place. */
  waiting: number
  /** Of these, of one asker. */
  waitingEach: number
  /** How long one waits at most, in milliseconds. */
  waitMs: number
}

/** Nothing is put behind a work that has run for so long. In milliseconds. */
const STUCK_MS = 20

interface Seat<Place> {
  place: Place
  /** Whose work is under way there; undefined when none is. */
  asker: Asker<Place> | undefined
  underWay: number
  /** When it was last taken, or something was done there. */
  movedAt: number
}

interface Asker<Place> {
  name: string
  seats: number
  waiting: Waiting<Place>[]
}

interface Waiting<Place> {
  /** Its turn has come. */
  begin(seat: Seat<Place>): void
  refuse(): void
}

/**
 * Places for work that may take long. Free ones go to the askers in turn, and nobody has all of them: who asks for much
 * waits behind what they have asked for themselves, and is the first to be refused.
 */
export class FairQueue<Place> {
  readonly #options: FairQueueOptions
  readonly #seats: Seat<Place>[]
  /** Whose work is under way or waits; first comes whose last turn, or arrival, is longest ago. */
  readonly #askers = new Map<string, Asker<Place>>()
  #waiting = 0

  constructor(places: Place[], options: FairQueueOptions) {
    this.#options = options
    this.#seats = places.map((place) => ({ place, asker: undefined, underWay: 0, movedAt: 0 }))
  }

  /** Runs `work` when it is the asker's turn. @throws TooManyQuestions, before `work` has begun */
  async during<T>(name: string, work: (place: Place) => Promise<T>): Promise<T> {
    const asker = this.#askers.get(name) ?? { name, seats: 0, waiting: [] }
    const seat = (asker.waiting.length === 0 && this.#take(asker)) || (await this.#turnOf(asker))
    try {
      return await work(seat.place)
    } finally {
      this.#leave(seat, asker)
    }
  }

  /** A free place, or one where the asker's own work moves on, if nobody else waits. */
  #take(asker: Asker<Place>): Seat<Place> | undefined {
    const seat = this.#freeSeat(asker) ?? this.#movingSeat(asker)
    if (!seat) return undefined
    if (seat.underWay === 0) {
      seat.asker = asker
      seat.movedAt = performance.now()
      asker.seats++
    }
    seat.underWay++
    this.#askers.delete(asker.name)
    this.#askers.set(asker.name, asker) // behind all others from now on
    return seat
  }

  #freeSeat({ seats }: Asker<Place>): Seat<Place> | undefined {
    return seats < this.#options.placesEach ? this.#seats.find(({ underWay }) => underWay === 0) : undefined
  }

  #movingSeat(asker: Asker<Place>): Seat<Place> | undefined {
    if (asker.waiting.length < this.#waiting) return undefined
    const since = performance.now() - STUCK_MS
    return this.#seats.find(
      (seat) => seat.asker === asker && seat.underWay < this.#options.depth && seat.movedAt > since,
    )
  }

  #leave(seat: Seat<Place>, asker: Asker<Place>): void {
    seat.underWay--
    seat.movedAt = performance.now()
    if (seat.underWay === 0) {
      seat.asker = undefined
      asker.seats--
      this.#forgetIdle(asker)
    }
    this.#giveTurns()
  }

  /** Resolves with a place taken. */
  async #turnOf(asker: Asker<Place>): Promise<Seat<Place>> {
    const { waiting, waitingEach, waitMs } = this.#options
    if (asker.waiting.length >= waitingEach) throw tooMany()
    if (this.#waiting >= waiting) this.#refuseLongest(asker)
    this.#askers.set(asker.name, asker)
    this.#waiting++
    return new Promise((resolve, reject) => {
      const one: Waiting<Place> = {
        begin: (seat) => {
          clearTimeout(timer)
          this.#waiting--
          resolve(seat)
        },
        refuse: () => {
          clearTimeout(timer)
          asker.waiting.splice(asker.waiting.indexOf(one), 1)
          this.#waiting--
          this.#forgetIdle(asker)
          reject(tooMany())
        },
      }
      const timer = setTimeout(one.refuse, waitMs)
      asker.waiting.push(one)
    })
  }

  /** Makes room for an asker at the cost of whoever has the most that waits. @throws TooManyQuestions when that is him */
  #refuseLongest(asker: Asker<Place>): void {
    let longest = asker
    for (const other of this.#askers.values())
      if (other.waiting.length > longest.waiting.length) longest = other
    if (longest.waiting.length <= asker.waiting.length + 1) throw tooMany()
    longest.waiting.at(-1)?.refuse()
  }

  #giveTurns(): void {
    for (const asker of this.#askers.values()) {
      const [next] = asker.waiting
      const seat = next && this.#take(asker) // goes to the end, and comes once more in this loop
      if (!seat) continue
      asker.waiting.shift()
      next.begin(seat)
    }
  }

  #forgetIdle({ name, seats, waiting }: Asker<Place>): void {
    if (seats === 0 && waiting.length === 0) this.#askers.delete(name)
  }
}

function tooMany(): StorageError {
  return new StorageError('TooManyQuestions')
}
