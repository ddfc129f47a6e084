import type { Database } from '../connection/client.ts'
import { LastingSession } from '../connection/lasting-session.ts'
import { inOurErrors } from '../connection/postgres-error.ts'
import type { Session } from '../connection/session.ts'
import { eventsChannel } from './events.ts'

/**
 * One connection, not of the pool, for what lives as long as a session does in a process that answers requests: hearing
 * of other servers' events, its turns with sinks, and its leases of resumable uploads. They end with it, at once when the
 * process dies, so no lock is ever left behind and none has to be renewed.
 *
 * One for all: it is had from the start, when others may have taken all further connections by the time that the first
 * upload comes.
 */
export class ServingSession {
  readonly #session: LastingSession
  readonly #listeners: ((newest: number) => void)[] = []

  constructor(database: Database) {
    this.#session = new LastingSession(async () => {
      const session = await database.openSession((_channel, payload) => {
        for (const listener of this.#listeners) listener(Number(payload))
      })
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

  /** Calls `listener` with the newest position whenever any server has ordered events, while there is a session. */
  onPosition(listener: (newest: number) => void): void {
    this.#listeners.push(listener)
  }

  /** The session, which listens; another one after it was lost. @throws DatabaseUnavailable */
  get(): Promise<Session> {
    return this.#session.get()
  }

  close(): Promise<void> {
    return this.#session.close()
  }
}
