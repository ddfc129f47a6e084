import type { Session } from './session.ts'

/** A session that is opened when it is first wanted, and anew after it was lost. */
export class LastingSession {
  readonly #open: () => Promise<Session>
  #opening: Promise<Session> | undefined

  /** @param open makes it ready for use */
  constructor(open: () => Promise<Session>) {
    this.#open = open
  }

  /** @throws whatever keeps it from being opened; the next call tries again */
  get(): Promise<Session> {
    if (this.#opening) return this.#opening
    const opening = this.#open()
    this.#opening = opening
    const forget = () => {
      // A connection may be lost again when it is closed, and another one be there by then.
      if (this.#opening === opening) this.#opening = undefined
    }
    opening.then((session) => {
      const end = () => {
        forget()
        void session.close() // the driver would connect again, but what the session held is gone
      }
      if (session.lost.aborted) end()
      else session.lost.addEventListener('abort', end)
    }, forget)
    return opening
  }

  async close(): Promise<void> {
    const session = await this.#opening?.catch(() => null)
    await session?.close()
  }
}
