import type { Database } from '../connection/client.ts'
import { LastingSession } from '../connection/lasting-session.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import { endTurn, takeTurn } from '../connection/turns.ts'
import { eventsChannel } from './events.ts'

/** A sink that this server works for, and no other. */
export interface Turn {
  /** Aborted when the turn is lost with its connection. */
  lost: AbortSignal
  /** Never fails: a turn that cannot be given back ends with its connection. */
  end(): Promise<void>
}

/**
 * One connection, not of the pool, for what lives as long as a session does: hearing of other servers' events, and
 * the turns that this server has with sinks. They end with it, also when the server dies.
 */
export class EventSession {
  readonly #session: LastingSession

  /** @param onPosition hears the newest position whenever any server has ordered events */
  constructor(database: Database, onPosition: (newest: number) => void) {
    this.#session = new LastingSession(async () => {
      const session = await database.openSession((_channel, payload) => onPosition(Number(payload)))
      try {
        const channel = await eventsChannel(session.sql)
        await inOurErrors(session.sql`listen ${session.sql(channel)}`)
      } catch (error) {
        void session.close()
        throw error
      }
      return session
    })
  }

  /** Begins to listen, also again after the connection was lost. @throws DatabaseUnavailable */
  async listen(): Promise<void> {
    await this.#session.get()
  }

  /**
   * Does not wait: null when another server has the sink. This one could have it twice: whoever asks keeps its own
   * turns apart.
   *
   * @throws DatabaseUnavailable
   */
  async tryTurn(sink: string): Promise<Turn | null> {
    const { sql, lost, close } = await this.#session.get()
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

  close(): Promise<void> {
    return this.#session.close()
  }
}
