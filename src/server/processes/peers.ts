import type { Change } from '../../storage/object/changes.ts'
import type { Peers } from '../../storage/reading/hot-objects.ts'
import type { FromWorker, ToWorker } from './messages.ts'

/** The other workers, as one of them knows them: who may have in memory what this one changes. */
export class PeerProcesses implements Peers {
  readonly #say: (message: FromWorker) => void
  readonly #waiting = new Map<number, () => void>()
  #gathered: { changes: Change[]; sent: Promise<void> } | undefined
  #count = 0
  /** Drops from this worker's memory what another has changed. */
  onChanges: (changes: Change[]) => void = () => {}

  /** @param say to the primary, which passes it on */
  constructor(say: (message: FromWorker) => void) {
    this.#say = say
  }

  /** Resolves once no peer answers with what was before. What comes at the same time goes together. */
  invalidate(changes: Change[]): Promise<void> {
    if (!process.connected) return Promise.resolve() // all of them are ending
    this.#gathered ??= { changes: [], sent: this.#sendSoon() }
    this.#gathered.changes.push(...changes)
    return this.#gathered.sent
  }

  hear(message: ToWorker): void {
    if (message.type === 'drop') {
      this.onChanges(message.changes)
      this.#say({ type: 'dropped', id: message.id })
    } else if (message.type === 'invalidated') {
      this.#waiting.get(message.id)?.()
      this.#waiting.delete(message.id)
    }
  }

  /** The primary is gone, and nobody passes anything on. */
  disconnected(): void {
    for (const resolve of this.#waiting.values()) resolve()
    this.#waiting.clear()
  }

  async #sendSoon(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    const { changes } = this.#gathered ?? { changes: [] }
    this.#gathered = undefined
    const id = ++this.#count
    await new Promise<void>((resolve) => {
      this.#waiting.set(id, resolve)
      this.#say({ type: 'changed', id, changes })
      if (!process.connected) this.disconnected()
    })
  }
}
