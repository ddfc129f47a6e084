import type { StorageEvent } from '../../database/queries/events.ts'
import type { PendingDelivery } from '../../database/queries/webhook-deliveries.ts'
import { placesOf } from '../event.ts'
import type { Fate } from './in-order.ts'

/** An event that is to be sent. */
export interface Candidate {
  event: StorageEvent
  places: string[]
  /** How often it was tried before. */
  attempts: number
  /** Whether it is written down already; otherwise it is in the outbox alone. */
  isPending: boolean
}

/** What is sent at one go, and what has to wait. */
export class Round {
  /** What is to be sent, in order. */
  readonly candidates: Candidate[] = []
  /** Until the next pending one is due that is not among them, in milliseconds. */
  nextMs = Number.POSITIVE_INFINITY
  /** What comes later at one of these places waits. */
  readonly #held = new Set<string>()
  readonly #notSent = new Map<Candidate, Fate>()
  readonly #size: number
  #room: number
  /** From here on nothing new is sent. */
  #isLeft = false

  /**
   * @param size the most that are sent
   * @param room how many of them may be ones that were never tried
   */
  constructor(size: number, room: number) {
    this.#size = size
    this.#room = room
  }

  /** How many more there may be. */
  get space(): number {
    return this.#size - this.candidates.length
  }

  /** All that is pending, in order. Comes before what is new. */
  addPending(pending: PendingDelivery[]): void {
    for (const { event, places, attempts, waitMs } of pending) {
      if (this.#isHeld(places)) {
        this.#hold(places)
      } else if (waitMs === 0 && this.space > 0 && this.#takeRoom(attempts)) {
        this.candidates.push({ event, places, attempts, isPending: true })
      } else {
        this.#hold(places)
        // What has no room waits for the receiver instead.
        if (attempts > 0 || this.space === 0) this.nextMs = Math.min(this.nextMs, waitMs)
      }
    }
  }

  /** What is in the outbox after the position, in order. */
  addNew(event: StorageEvent): void {
    const candidate = { event, places: placesOf(event), attempts: 0, isPending: false }
    if (this.#isLeft) {
      this.#notSent.set(candidate, 'left')
    } else if (this.#isHeld(candidate.places)) {
      this.#hold(candidate.places)
      this.#notSent.set(candidate, 'behind')
    } else if (this.#takeRoom(0)) {
      this.candidates.push(candidate)
    } else {
      this.#isLeft = true
      this.#notSent.set(candidate, 'left')
    }
  }

  /**
   * How far the outbox is done with, what of it is to be written down since it was not sent, and whether anything is
   * left for later.
   *
   * @param last the position that is reached when nothing is left
   */
  outcome(
    sent: Map<Candidate, Fate>,
    last: number,
  ): { position: number; waiting: Candidate[]; isLeft: boolean } {
    const isLeft = this.#isLeft || [...sent.values()].includes('left')
    const fresh = [...sent, ...this.#notSent].filter(([{ isPending }]) => !isPending)
    const positions = (fates: Fate[]) =>
      fresh.filter(([, fate]) => fates.includes(fate)).map(([{ event }]) => event.position)
    const left = positions(['left'])
    const position =
      left.length === 0 ? last : Math.max(Math.min(...left) - 1, ...positions(['done', 'failed', 'behind']))
    const waiting = fresh.filter(
      ([{ event }, fate]) => (fate === 'behind' || fate === 'left') && event.position <= position,
    )
    return { position, waiting: waiting.map(([candidate]) => candidate), isLeft }
  }

  #isHeld(places: string[]): boolean {
    return places.some((place) => this.#held.has(place))
  }

  #hold(places: string[]): void {
    for (const place of places) this.#held.add(place)
  }

  #takeRoom(attempts: number): boolean {
    if (attempts > 0) return true
    if (this.#room === 0) return false
    this.#room--
    return true
  }
}
