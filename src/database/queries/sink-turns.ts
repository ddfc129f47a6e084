import { endTurn, takeTurn } from '../connection/turns.ts'
import type { ServingSession } from './serving-session.ts'

/** A sink that this server works for, and no other. */
export interface SinkTurn {
  /** Aborted when the turn is lost with its connection. */
  lost: AbortSignal
  /** Never fails: a turn that cannot be given back ends with its connection. */
  end(): Promise<void>
}

/**
 * Takes the turn of a sink. Does not wait: null when another server has it. This one could have it twice: whoever asks keeps
 * its own turns apart.
 *
 * @throws DatabaseUnavailable
 */
export async function tryTurnOfSink(session: ServingSession, sink: string): Promise<SinkTurn | null> {
  const { sql, lost, close } = await session.get()
  const turn = `sink ${sink}`
  if (!(await takeTurn(sql, turn)) || lost.aborted) return null
  return {
    lost,
    end: async () => {
      if (lost.aborted) return
      await endTurn(sql, turn).catch(close)
    },
  }
}
