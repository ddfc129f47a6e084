import { type Content, findOrder, NOTHING, type Operation, type Told } from './linearizability.ts'
import { type Answered, asPromised } from './memory.ts'
import type { ServerProcess } from './servers.ts'

/** Who asked for something when, and of which server. */
export interface Asked {
  what: string
  start: number
  /** Who has answered, if it was one alone. */
  by?: ServerProcess | undefined
  mayBeFromMemory: boolean
}

/** A change of which nobody knows whether it has taken place, or still will. */
interface Open {
  operation: Answered
  /** Who may still carry it out. */
  at: Set<ServerProcess>
}

/** What was asked and answered, for each name. */
export class Histories {
  #answered = new Map<string, Answered[]>()
  #open: Open[] = []
  readonly #ended = new Set<ServerProcess>()
  /** Of each name, what may have been there when the histories begin. */
  readonly #before = new Map<string, ReadonlySet<Content>>()

  /** @param now the clock of all operations, in milliseconds */
  constructor(readonly now: () => number = () => performance.now()) {}

  /** An operation whose answer is known. */
  answered(key: string, asked: Asked, told: Told): void {
    this.#add(key, asked, { ...told, end: this.now(), isCertain: true })
  }

  /** An operation that was perhaps not answered, or not to the end. @param at who may still carry it out */
  unanswered(key: string, asked: Asked, wants: Told, at: Iterable<ServerProcess>): void {
    const operation = this.#add(key, asked, { ...wants, end: this.now(), isCertain: false })
    const alive = [...at].filter((process) => !this.#ended.has(process))
    if (alive.length > 0) this.#open.push({ operation, at: new Set(alive) })
  }

  /** This server can carry out nothing any more. */
  ended(process: ServerProcess): void {
    this.#ended.add(process)
    for (const open of this.#open) {
      if (!open.at.delete(process)) continue
      open.operation.end = this.now()
    }
    this.#open = this.#open.filter(({ at }) => at.size > 0)
  }

  /** What was found when nothing ran, and nobody can carry anything out any more. */
  settled(found: ReadonlyMap<string, Content>): void {
    if (this.#open.length > 0) throw new Error('somebody may still carry something out')
    for (const key of this.#answered.keys()) {
      const asked = { what: 'the row in the database', start: this.now(), mayBeFromMemory: false }
      this.answered(key, asked, { is: found.get(key) ?? NOTHING })
    }
  }

  /** Looks for an order of all that was asked of each name. What is wrong is what it returns; then all begins anew. */
  problems(): string[] {
    const problems: string[] = []
    for (const [key, history] of this.#answered) {
      const order = findOrder(asPromised(history), this.#before.get(key) ?? new Set([NOTHING]))
      if ('problem' in order) problems.push(`${key}: ${order.problem}`)
      else this.#before.set(key, order.contents)
    }
    this.#answered = new Map()
    return problems
  }

  /** What may be somewhere now. */
  get contents(): Set<Content> {
    return new Set([...this.#before.values()].flatMap((contents) => [...contents]))
  }

  #add(key: string, asked: Asked, rest: Omit<Operation, 'what' | 'start'>): Answered {
    const by = asked.by?.name
    const what = by === undefined ? asked.what : `${asked.what} through ${by}`
    const operation = { ...asked, ...rest, what, by }
    const history = this.#answered.get(key) ?? []
    this.#answered.set(key, history)
    history.push(operation)
    return operation
  }
}
