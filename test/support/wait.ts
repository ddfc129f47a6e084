import { setTimeout as delay } from 'node:timers/promises'

/** Asks again and again until `condition` holds; fails with `what` after a generous time. */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 90_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`It did not come about that ${what}`)
    await delay(10)
  }
}
