import { setTimeout as delay } from 'node:timers/promises'
import { isSettledWithin } from '../../src/lib/settled-within.ts'

/** Generous also on a machine that is busy with other work. In milliseconds. */
const PATIENCE_MS = 90_000

/** Asks again and again until `condition` holds; fails with `what` after a generous time. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`It did not come about that ${what}`)
    await delay(10)
  }
}

/** What a promise comes to; fails with `what` if that takes too long, where else only the test's own limit would end it. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  if (!(await isSettledWithin(promise, PATIENCE_MS))) throw new Error(`It did not come about that ${what}`)
  return promise
}
