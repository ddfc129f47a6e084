import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { LONGEST_TIMER_MS } from '../lib/units.ts'

export interface Schedule {
  /** Ends the waiting, tells the running work to stop, and resolves once it has. */
  stop(): Promise<void>
}

/**
 * Runs `work` again and again, one run at a time, until stopped. A run that fails is logged, and the next one comes
 * all the same.
 *
 * @param name of the work, for the log
 * @param work returns how long to wait before the next run, in milliseconds
 * @param firstAfterMs the wait before the first run; some chance is added, so that servers that start together do
 *   not work together
 */
export function schedule(
  name: string,
  work: (signal: AbortSignal) => Promise<number>,
  options: { firstAfterMs: number; afterFailureMs: number; logger: Logger },
): Schedule {
  const { firstAfterMs, afterFailureMs, logger } = options
  const stopping = new AbortController()
  const { signal } = stopping
  async function run() {
    let waitMs = firstAfterMs * (1 + Math.random() / 2)
    for (;;) {
      await delay(Math.min(waitMs, LONGEST_TIMER_MS), undefined, { signal, ref: false }).catch(() => {})
      if (signal.aborted) return
      try {
        waitMs = await work(signal)
      } catch (error) {
        if (signal.aborted) return
        logger.error({ err: error, worker: name }, `${name} failed; it will try again`)
        waitMs = afterFailureMs
      }
    }
  }
  const running = run()
  return {
    stop: () => {
      stopping.abort()
      return running
    },
  }
}
