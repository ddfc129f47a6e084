import type { TakenUpload, UnfinishedBounds } from '../../database/queries/resumable-uploads.ts'
import type { UploadLocks } from '../resumable/upload-locks.ts'
import { inUploadWords } from '../writing/commit.ts'
import type { Heartbeats } from '../writing/heartbeats.ts'

export interface ExclusiveWorkOptions {
  locks: UploadLocks
  heartbeats: Heartbeats
  unfinished: Pick<UnfinishedBounds, 'lifetimeMs'>
}

/**
 * Work on an upload alone, though parts of it may be on their way. Requests of this server wait for each other: to
 * complete an upload takes its time, and who asks again meanwhile is to hear how that has ended.
 */
export class ExclusiveWork {
  readonly #options: ExclusiveWorkOptions
  /** What is done with an upload, the last of those that wait for each other. */
  readonly #holders = new Map<string, Promise<unknown>>()

  constructor(options: ExclusiveWorkOptions) {
    this.#options = options
  }

  /**
   * @returns null when the upload has ended
   * @throws LockTimeout while another server works on it
   */
  async during<T>(version: string, work: (taken: TakenUpload) => Promise<T>): Promise<T | null> {
    const holding = () => this.#take(version, work)
    const held = (this.#holders.get(version) ?? Promise.resolve()).then(holding, holding)
    this.#holders.set(version, held)
    try {
      return await held
    } finally {
      if (this.#holders.get(version) === held) this.#holders.delete(version)
    }
  }

  async #take<T>(version: string, work: (taken: TakenUpload) => Promise<T>): Promise<T | null> {
    const { locks, unfinished, heartbeats } = this.#options
    // Whoever asked and has gone would ask again: what is begun is brought to its end.
    const alone = new AbortController().signal
    const { taken, release } = await locks.acquire(version, unfinished.lifetimeMs, alone)
    try {
      return taken && (await inUploadWords(heartbeats.during(version, () => work(taken))))
    } finally {
      await release() // whoever comes next would have to wait for that
    }
  }
}
