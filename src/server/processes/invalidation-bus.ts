import type { Change } from '../../storage/object/changes.ts'

/** By then no worker answers with what it has looked at before (decision 0020). In milliseconds. */
const LIMIT_MS = 1000

/** A worker, as far as its memory goes. */
export interface BusMember {
  readonly mayRemember: boolean
  /** Lets it drop what another has changed; it answers `dropped`. */
  drop(id: number, changes: Change[]): void
}

/** A change that some workers have not dropped from their memory yet. */
interface Published {
  left: Set<BusMember>
  onDropped(): void
}

/** Lets all workers drop from their memory what one of them has changed, before that one answers its client. */
export class InvalidationBus {
  readonly #workers: ReadonlySet<BusMember>
  readonly #underWay = new Map<number, Published>()
  #count = 0

  /** @param workers those that run, which come and go */
  constructor(workers: ReadonlySet<BusMember>) {
    this.#workers = workers
  }

  /** Resolves once no other worker answers with what was before. */
  async publish(from: BusMember, changes: Change[]): Promise<void> {
    const left = new Set([...this.#workers].filter((worker) => worker !== from && worker.mayRemember))
    if (left.size === 0) return
    const id = ++this.#count
    await new Promise<void>((resolve) => {
      const limit = setTimeout(resolve, LIMIT_MS)
      const onDropped = () => {
        clearTimeout(limit)
        resolve()
      }
      this.#underWay.set(id, { left, onDropped })
      for (const worker of left) worker.drop(id, changes)
    })
    this.#underWay.delete(id)
  }

  /** A worker has done so. */
  dropped(worker: BusMember, id: number): void {
    const published = this.#underWay.get(id)
    if (published?.left.delete(worker) && published.left.size === 0) published.onDropped()
  }

  /** A worker has ended, and its memory with it. */
  forget(worker: BusMember): void {
    for (const id of this.#underWay.keys()) this.dropped(worker, id)
  }
}
