import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { SinkTurn } from '../database/queries/sink-turns.ts'
import type { Outbox } from './outbox.ts'

/** Something outside that gets events, such as a broker or a webhook. */
export interface Sink {
  /** Under which its position and its turns are kept. */
  name: string
  /** Brings it what there is and what comes, until the signal; rejects when it cannot go on. */
  work(signal: AbortSignal): Promise<void>
}

export interface RunningSink {
  /** Resolves once its work has ended. */
  stop(): Promise<void>
}

/** Between two tries to get a turn, and after a failure. In milliseconds. */
const RETRY_MS = 1000

/**
 * Works for a sink whenever no other server does, until stopped. A turn lasts as long as a connection, so it passes on
 * the moment that its server dies. A server that has lost its turn without knowing may still send what it is about to:
 * at least once, and only then more than once.
 */
export function runSink(options: { outbox: Outbox; logger: Logger }, sink: Sink): RunningSink {
  const stopping = new AbortController()
  const running = run(options, sink, stopping.signal)
  return {
    stop: () => {
      stopping.abort(new Error('the server is stopping'))
      return running
    },
  }
}

async function run(
  { outbox, logger }: { outbox: Outbox; logger: Logger },
  sink: Sink,
  stopping: AbortSignal,
): Promise<void> {
  let isFailing = false
  while (!stopping.aborted) {
    let turn: SinkTurn | null = null
    try {
      turn = await outbox.tryTurn(sink.name)
      if (turn !== null) {
        const signal = AbortSignal.any([stopping, turn.lost])
        await sink.work(signal)
      }
      isFailing = false
    } catch (error) {
      // One line when it begins to fail: what is down for a night would fill the log.
      if (!stopping.aborted && !turn?.lost.aborted && !isFailing) {
        logger.warn({ err: error, sink: sink.name }, 'a sink for events failed; trying again')
        isFailing = true
      }
    } finally {
      await turn?.end()
    }
    await delay(RETRY_MS, undefined, { signal: stopping, ref: false }).catch(() => {})
  }
}
