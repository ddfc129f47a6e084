/** What is under a name: each content that was ever written has a number of its own, and is written once. */
export type Content = number

/** Under a name that is free. */
export const NOTHING: Content = 0

/** What an answer tells of the one moment at which its operation took place. */
export interface Told {
  /** What was there: exactly this. Anything, if neither this nor `not` is said. */
  is?: Content
  /** What was not there; of `NOTHING`, that something was. */
  not?: Content
  /** What has been there from then on. An operation without it changes nothing. */
  leaves?: Content
}

/** One operation on one name. */
export interface Operation extends Told {
  /** When its client began to ask, in milliseconds of one clock. */
  start: number
  /** When its client knew the answer; or, if it got none, when it was certain that it cannot take place any more. */
  end: number
  /** Whether it has taken place. Without an answer it may have or not. */
  isCertain: boolean
  /** Acknowledged changes that it did not come before, whatever the times say. It begins no earlier than they do. */
  follows?: readonly Operation[]
  /** For who has to find out what went wrong. */
  what: string
}

/** What could have been so at some moment: what is there, and which of the running operations have taken place. */
interface State {
  content: Content
  /** A bit for each. */
  done: bigint
}

interface Running {
  operation: Operation
  bit: bigint
}

interface Moment {
  operation: Operation
  isStart: boolean
}

/** More states than this at one moment are no history of a few clients. */
const MAX_STATES = 500_000

/**
 * Looks for an order of all operations on one name in which each was right at a moment between its start and its end.
 * It is Lowe's search, just in time ("Testing for linearizability", 2016): it goes through the history once, holds all
 * that may be so at each moment, and lets operations take place no earlier than an answer demands it. That stays quick
 * because each content is written once: what is still to be read cannot have been replaced.
 *
 * @param before what may have been there at the beginning
 * @returns what may be there at the end, or why there is no such order
 * @throws when that cannot be found out in reasonable time
 */
export function findOrder(
  history: readonly Operation[],
  before: ReadonlySet<Content>,
): { contents: Set<Content> } | { problem: string } {
  return new Search(history).run(before)
}

class Search {
  readonly #moments: Moment[]
  /** Of a content, at which moment the last operation starts that needs it. */
  readonly #lastNeed = new Map<Content, number>()
  readonly #running = new Map<Operation, Running>()
  /** Of those that run, the ones that change something. */
  readonly #changes = new Set<Running>()
  readonly #reads = new Set<Running>()
  readonly #over = new Set<Operation>()
  #now = 0

  constructor(history: readonly Operation[]) {
    this.#moments = momentsOf(history)
    for (const [index, { operation, isStart }] of this.#moments.entries()) {
      const { is, isCertain } = operation
      if (isStart && isCertain && is !== undefined) this.#lastNeed.set(is, index)
    }
  }

  run(before: ReadonlySet<Content>): { contents: Set<Content> } | { problem: string } {
    let states: State[] = [...before].map((content) => ({ content, done: 0n }))
    for (const [index, { operation, isStart }] of this.#moments.entries()) {
      this.#now = index
      if (isStart) {
        const running = this.#begin(operation)
        if (this.#reads.has(running)) states = states.map((state) => this.#with([running], state))
        continue
      }
      const running = this.#running.get(operation)
      if (!running) throw new Error('an operation ends before it starts')
      const done = this.#afterwards(states, running)
      const after = operation.isCertain ? done : [...states, ...done]
      if (after.length === 0) return { problem: this.#explain(operation, states) }
      this.#end(running)
      states = distinct(after.map(({ content, done }) => ({ content, done: done & ~running.bit })))
    }
    return { contents: new Set(states.map(({ content }) => content)) }
  }

  #begin(operation: Operation): Running {
    let used = 0n
    for (const { bit } of this.#running.values()) used |= bit
    let bit = 1n
    while ((used & bit) !== 0n) bit <<= 1n
    const running = { operation, bit }
    this.#running.set(operation, running)
    if (operation.leaves === undefined) this.#reads.add(running)
    else this.#changes.add(running)
    return running
  }

  #end(running: Running): void {
    this.#running.delete(running.operation)
    this.#changes.delete(running)
    this.#reads.delete(running)
    this.#over.add(running.operation)
  }

  /** All that may be so once `awaited` has taken place, by the fewest other changes. */
  #afterwards(states: State[], awaited: Running): State[] {
    const seen = new Set<string>()
    const found: State[] = []
    const open = [...states]
    for (let state = open.pop(); state; state = open.pop()) {
      const key = keyOf(state)
      if (seen.has(key)) continue
      seen.add(key)
      if (seen.size > MAX_STATES) throw new Error('so many operations run at once that no order can be found')
      if (isDone(state, awaited)) {
        found.push(state)
        continue
      }
      for (const change of this.#changes) {
        if (isDone(state, change) || !isRight(change.operation, state.content)) continue
        if (!this.#mayReplace(state, change)) continue
        const content = change.operation.leaves ?? state.content
        open.push(this.#with(this.#reads, { content, done: state.done | change.bit }))
      }
    }
    return found
  }

  /** With those of the reads that are right now: nothing is gained by letting one of them wait. */
  #with(reads: Iterable<Running>, { content, done }: State): State {
    let all = done
    for (const { operation, bit } of reads) {
      if ((done & bit) === 0n && isRight(operation, content) && this.#hasFollowed(operation, done)) all |= bit
    }
    return { content, done: all }
  }

  #hasFollowed({ follows = [] }: Operation, done: bigint): boolean {
    return follows.every((earlier) => {
      const running = this.#running.get(earlier)
      return running ? (done & running.bit) !== 0n : this.#over.has(earlier)
    })
  }

  /** A content that is replaced never comes back: whoever needs it must have been there before. */
  #mayReplace(state: State, change: Running): boolean {
    const { content } = state
    if (content === NOTHING || change.operation.leaves === content) return true
    const lastNeed = this.#lastNeed.get(content)
    if (lastNeed === undefined) return true
    if (lastNeed > this.#now) return false
    for (const other of this.#running.values()) {
      const needsIt = other.operation.is === content && other.operation.isCertain
      if (needsIt && other !== change && !isDone(state, other)) return false
    }
    return true
  }

  #explain(operation: Operation, states: State[]): string {
    const contents = [...new Set(states.map(({ content }) => content))]
    const others = [...this.#running.keys()].filter((other) => other !== operation)
    return [
      `no order explains ${describe(operation)}`,
      `there may have been ${contents.map(nameOf).join(' or ')}, and besides there ran`,
      ...others.map(describe),
    ].join('\n  ')
  }
}

/** In the order of time; of what is at the same time, starts first, so that it may have been in any order. */
function momentsOf(history: readonly Operation[]): Moment[] {
  const timeOf = ({ operation, isStart }: Moment) => (isStart ? operation.start : operation.end)
  return history
    .flatMap((operation) => [
      { operation, isStart: true },
      { operation, isStart: false },
    ])
    .sort((a, b) => timeOf(a) - timeOf(b) || Number(b.isStart) - Number(a.isStart))
}

function isRight({ is, not }: Told, content: Content): boolean {
  return (is === undefined || is === content) && (not === undefined || not !== content)
}

function isDone({ done }: State, { bit }: Running): boolean {
  return (done & bit) !== 0n
}

function keyOf({ content, done }: State): string {
  return `${content} ${done.toString(36)}`
}

function distinct(states: State[]): State[] {
  if (states.length < 2) return states
  return [...new Map(states.map((state) => [keyOf(state), state])).values()]
}

function nameOf(content: Content): string {
  return content === NOTHING ? 'nothing' : `content ${content}`
}

function describe({ what, is, not, leaves, start, end, isCertain }: Operation): string {
  const told = [
    ...(is === undefined ? [] : [`found ${nameOf(is)}`]),
    ...(not === undefined ? [] : [not === NOTHING ? 'found something' : `did not find ${nameOf(not)}`]),
    ...(leaves === undefined ? [] : [`left ${nameOf(leaves)}`]),
  ]
  const times = `${start.toFixed(3)}–${end.toFixed(3)} ms`
  return `${what}, ${isCertain ? 'which' : 'unanswered, which may have'} ${told.join(' and ')} (${times})`
}
