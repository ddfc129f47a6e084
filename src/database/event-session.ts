import type { Database, Session } from './client.ts'
import { eventsChannel } from './events.ts'
import { inOurErrors } from './postgres-error.ts'
import { endTurn, takeTurn } from './turns.ts'

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
  readonly #database: Database
  readonly #onPosition: (newest: number) => void
  #opening: Promise<Session> | undefined

  /** @param onPosition hears the newest position whenever any server has ordered events */
  constructor(database: Database, onPosition: (newest: number) => void) {
    this.#database = database
    this.#onPosition = onPosition
  }

  /** Begins to listen, also again after the connection was lost. @throws DatabaseUnavailable */
  async listen(): Promise<void> {
    await this.#session()
  }

  /**
   * Does not wait: null when another server has the sink. This one could have it twice: whoever asks keeps its own
   * turns apart.
   *
   * @throws DatabaseUnavailable
   */
  async tryTurn(sink: string): Promise<Turn | null> {
    const { sql, lost, close } = await this.#session()
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

  async close(): Promise<void> {
    const session = await this.#opening?.catch(() => null)
    await session?.close()
  }

  #session(): Promise<Session> {
    if (this.#opening) return this.#opening
    const opening = this.#open(() => {
      // A connection may be lost again when it is closed, and another one be there by then.
      if (this.#opening === opening) this.#opening = undefined
    })
    this.#opening = opening
    return opening
  }

  async #open(onLost: () => void): Promise<Session> {
    const session = this.#database.openSession((_channel, payload) => this.#onPosition(Number(payload)))
    const forget = () => {
      onLost()
      void session.close()
    }
    // The driver would connect again, but nobody would listen there.
    session.lost.addEventListener('abort', forget)
    try {
      const channel = await eventsChannel(session.sql)
      await inOurErrors(session.sql`listen ${session.sql(channel)}`)
    } catch (error) {
      forget()
      throw error
    }
    return session
  }
}
