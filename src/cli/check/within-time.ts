import type { CheckResult } from '../../model/check-result.ts'

/** Hands the results on, until one takes longer than `limitMs`: then that is the last one, and a failure. */
export async function* withinTime(
  results: AsyncGenerator<CheckResult>,
  limitMs: number,
  about: string,
  setting: string,
): AsyncGenerator<CheckResult> {
  for (;;) {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), limitMs)
    })
    const next = await Promise.race([results.next(), late]).finally(() => clearTimeout(timer))
    if (next === 'late') {
      const says = `It did not answer within ${limitMs / 1000} seconds: look at ${setting}`
      yield { about, state: 'failed', says }
      return
    }
    if (next.done) return
    yield next.value
  }
}
