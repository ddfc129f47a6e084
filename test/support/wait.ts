import { setTimeout as delay } from 'node:timers/promises'
import { isSettledWithin } from '../../src/lib/settled-within.ts'

/** What takes longer never ends: generous also on a machine that is busy with other work. In milliseconds. */
export const PATIENCE_MS = 90_000

/** Also for a test that holds the clock (`HeldClock`). */
const now = performance.now.bind(performance)

/** Between two questions, in milliseconds: at first, and at most. What has taken long is asked for less often. */
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [10, 50]

/** Asks again and again until `condition` holds; fails with `what` after a generous time, also when it is never answered. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const begunAt = now()
  const deadline = begunAt + PATIENCE_MS
  const ask = async () => condition()
  while (!(await settled(ask(), deadline, what))) {
    const passed = now() - begunAt
    if (passed > PATIENCE_MS) throw notCome(what)
    await delay(Math.min(FIRST_PAUSE_MS + passed / 10, LONGEST_PAUSE_MS))
  }
}

/** What a promise comes to; fails with `what` if that takes as long, where else only the test's own limit would end it. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  return settled(promise, now() + PATIENCE_MS, what)
}

async function settled<T>(promise: Promise<T>, deadline: number, what: string): Promise<T> {
  if (!(await isSettledWithin(promise, deadline - now()))) throw notCome(what)
  return promise
}

function notCome(what: string): Error {
  return new Error(`It did not come about that ${what}`)
}
