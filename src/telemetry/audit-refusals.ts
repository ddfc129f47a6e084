import { randomUUID } from 'node:crypto'
import type { AuditEntry } from './audit-entry.ts'

/** How much of what has failed has entries of its own. */
export interface RefusalLimits {
  /** Of one subject and action in a window. */
  each: number
  /** Of all together, and so many subjects are told apart. */
  all: number
}

export const REFUSAL_LIMITS: RefusalLimits = { each: 10, all: 1000 }

interface Counted {
  entries: number
  /** Those without. */
  more: number
  last: AuditEntry
}

/**
 * What has failed, of a window of time. Whoever is refused again and again has a few entries, and one that counts the rest: a
 * stranger fills no disk, and takes no room from others. What was done is never counted together.
 */
export class AuditRefusals {
  readonly #limits: RefusalLimits
  #bySubject = new Map<string, Counted>()
  #entries = 0

  constructor(limits: RefusalLimits) {
    this.#limits = limits
  }

  get isEmpty(): boolean {
    return this.#bySubject.size === 0
  }

  /** Whether it has an entry of its own; else it is counted. */
  admit(entry: AuditEntry): boolean {
    const { each, all } = this.#limits
    const { user_id: user, address = '', action } = entry
    // Who has shown who he is, or where he comes from.
    let subject = `${action} ${user === undefined ? address : `user ${user}`}`
    if (!this.#bySubject.has(subject) && this.#bySubject.size >= all) subject = action
    let counted = this.#bySubject.get(subject)
    if (!counted) {
      counted = { entries: 0, more: 0, last: entry }
      this.#bySubject.set(subject, counted)
    }
    counted.last = entry
    if (counted.entries < each && this.#entries < all) {
      counted.entries++
      this.#entries++
      return true
    }
    counted.more++
    return false
  }

  /** Ends the window: an entry for each subject that has more than its entries, as the last one of them. */
  take(): AuditEntry[] {
    const counted = [...this.#bySubject.values()].filter(({ more }) => more > 0)
    this.#bySubject = new Map()
    this.#entries = 0
    return counted.map(({ more, last }) => ({ ...last, id: randomUUID(), repeated: more - 1 }))
  }
}
