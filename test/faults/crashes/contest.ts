import { type Answer, isAcknowledged, isOpen, type Operation } from './operation.ts'

/** From the moment when a client asked to the moment when it knew, in microseconds of the machine's clock. */
export interface Span {
  askedAt: number
  answeredAt: number
}

interface Write extends Span {
  /** Undefined while the name is free. */
  sha256: string | undefined
  isAcknowledged: boolean
}

interface Question extends Span {
  operation: Operation
  answer: Answer
}

/** A new name is free. */
const FREE: Write = {
  askedAt: Number.NEGATIVE_INFINITY,
  answeredAt: Number.NEGATIVE_INFINITY,
  sha256: undefined,
  isAcknowledged: true,
}

/**
 * What one new name may hold that many write to at once, and nobody deletes: the content of one of those writes
 * that were not refused, unless an acknowledged write began after that one was over.
 */
export class Contest {
  readonly #questions: Question[] = []

  record(operation: Operation, answer: Answer, span: Span): void {
    this.#questions.push({ operation, answer, ...span })
  }

  /** Compares all answers, and what was read in the end, with each other. Returns what is wrong. */
  problems(found: string | undefined, now: number): string[] {
    const writes = [FREE, ...this.#questions.flatMap(asWrite)]
    const wrong = this.#questions.filter((question) => !this.#isRight(question, writes))
    const problems = wrong.map((question) => `no history explains ${JSON.stringify(question)}`)
    if (!mayShow(found, writes, { askedAt: now, answeredAt: now })) {
      problems.push(`stored is ${found}, and written was ${JSON.stringify(writes)}`)
    }
    return problems
  }

  #isRight({ operation, answer, ...span }: Question, writes: Write[]): boolean {
    if (isOpen(answer)) return true
    const isFree = mayShow(undefined, writes, span)
    const isTaken = writes.some(({ sha256, askedAt }) => sha256 !== undefined && askedAt < span.answeredAt)
    switch (operation.kind) {
      case 'read':
        return answer.status === 200 ? mayShow(answer.sha256, writes, span) : answer.status === 404 && isFree
      case 'insert':
        return answer.status === 201 ? isFree && this.#isMadeOnce() : answer.status === 409 && isTaken
      case 'upsert':
        return answer.status === 201 ? isFree && this.#isMadeOnce() : answer.status === 200 && isTaken
      default:
        return false
    }
  }

  #isMadeOnce(): boolean {
    return this.#questions.filter(({ answer }) => answer.status === 201).length === 1
  }
}

function asWrite({ operation, answer, askedAt, answeredAt }: Question): Write[] {
  const isWrite = operation.kind === 'insert' || operation.kind === 'upsert'
  if (!isWrite || !(isAcknowledged(answer) || isOpen(answer))) return []
  return [{ sha256: operation.sha256, isAcknowledged: isAcknowledged(answer), askedAt, answeredAt }]
}

/** Whether somebody who asks within `span` may see `sha256`. */
function mayShow(sha256: string | undefined, writes: Write[], span: Span): boolean {
  return writes.some(
    (write) =>
      write.sha256 === sha256 &&
      write.askedAt < span.answeredAt &&
      !writes.some(
        (later) =>
          later.isAcknowledged && later.askedAt > write.answeredAt && later.answeredAt < span.askedAt,
      ),
  )
}
