import { type Answer, type Contents, isOpen, type Operation, perform } from './operation.ts'

/**
 * What may be stored under the names of one writer that asks one thing after the other: every history in which
 * each answer was right, and each operation without an answer either happened whole or did not happen.
 */
export class Ledger {
  /** One unless an answer is missing. */
  #possible: Contents[] = [new Map()]
  #lines: string[] = []

  /** Takes down an operation with its answer. Returns what is wrong with the answer, if anything is. */
  record(operation: Operation, answer: Answer): string | undefined {
    this.#lines.push(`${JSON.stringify(operation)} → ${JSON.stringify(answer)}`)
    const outcomes = this.#possible.map((before) => ({ before, ...perform(before, operation) }))
    if (isOpen(answer)) {
      this.#possible = distinct(outcomes.flatMap(({ before, after }) => [before, after]))
      return undefined
    }
    const fitting = outcomes.filter((outcome) => isSame(outcome.answer, answer))
    if (fitting.length === 0) {
      return `no history explains an answer:\n${this.#history()}`
    }
    this.#possible = distinct(fitting.map(({ after }) => after))
    return undefined
  }

  /** Compares with what was read, which is what is stored from now on. Returns what is wrong with it, if anything is. */
  settle(found: Contents): string | undefined {
    const isPossible = this.#possible.some((contents) => fingerprint(contents) === fingerprint(found))
    const wrong = isPossible
      ? undefined
      : `stored is ${fingerprint(found)}, which no history explains:\n${this.#history()}`
    this.#possible = [found]
    this.#lines = []
    return wrong
  }

  #history(): string {
    const possible = this.#possible.map(fingerprint).join('\nor ')
    return [...this.#lines.slice(-40), `could be ${possible}`].join('\n')
  }
}

function isSame(expected: Answer, given: Answer): boolean {
  return expected.status === given.status && expected.sha256 === given.sha256
}

function distinct(all: Contents[]): Contents[] {
  return [...new Map(all.map((contents) => [fingerprint(contents), contents])).values()]
}

function fingerprint(contents: Contents): string {
  return JSON.stringify([...contents].sort(([a], [b]) => (a < b ? -1 : 1)))
}
