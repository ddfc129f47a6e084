import { SharedAnswer } from '../../lib/shared-answer.ts'
import { StorageError } from '../../model/errors.ts'
import type { PartHealth, Parts } from '../../model/part-health.ts'

/** Looks at a part: what is wrong, in a sentence for whoever runs the server; null when nothing is. To fail is wrong, too. */
export type Look = () => Promise<string | null>

export interface CheckOptions {
  /** What the part is when something is wrong. */
  whenFailing: 'degraded' | 'unhealthy'
  /** After so long without an answer something is. In milliseconds. */
  limitMs: number
}

/** For how long an answer is good. In milliseconds. */
export const SHARED_MS = 1000

/**
 * Looks at one part that may hang. After one that does comes another, which may find that the part is back: more of them, at the
 * limit of five seconds, than last until the database gives up the first (45 s). What never comes back costs no more than these.
 */
export const MOST_HANGING = 10

/**
 * How a part of the server is, for as many as like to know: anybody may ask, so it costs the same however many do. Who asks
 * while it is looked at, or within a second of that, hears the same, and nobody waits longer than the limit.
 */
export function healthCheck(look: Look, { whenFailing, limitMs }: CheckOptions): SharedAnswer<PartHealth> {
  let underWay = 0
  const health = (startedAt: number, message: string | null): PartHealth => ({
    status: message === null ? 'healthy' : whenFailing,
    latencyMs: Math.round(performance.now() - startedAt),
    message,
  })
  const tooLate = `No answer within ${limitMs / 1000} s`
  const check = async () => {
    const startedAt = performance.now()
    if (underWay >= MOST_HANGING) return health(startedAt, tooLate)
    underWay++
    const answer = look()
      .catch(troubleOf)
      .then((message) => health(startedAt, message))
      .finally(() => underWay--)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<PartHealth>((resolve) => {
      timer = setTimeout(() => resolve(health(startedAt, tooLate)), limitMs)
    })
    return Promise.race([answer, late]).finally(() => clearTimeout(timer))
  }
  return new SharedAnswer(check, SHARED_MS)
}

/** The parts that a server can go on without. */
export class HealthChecks {
  readonly #limitMs: number
  readonly #parts = new Map<string, SharedAnswer<PartHealth>>()

  /** @param limitMs as for a check */
  constructor(limitMs: number) {
    this.#limitMs = limitMs
  }

  add(part: string, look: Look): void {
    this.#parts.set(part, healthCheck(look, { whenFailing: 'degraded', limitMs: this.#limitMs }))
  }

  /** Never fails. */
  async read(): Promise<Parts> {
    const parts = [...this.#parts].map(async ([part, health]) => [part, await health.get()] as const)
    return Object.fromEntries(await Promise.all(parts))
  }
}

function troubleOf(error: unknown): string {
  return error instanceof StorageError ? error.explanation : 'The check itself has failed'
}
