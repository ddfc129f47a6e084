import type { Entry, Keeping } from './history.ts'
import type { Moment } from './moments.ts'

const NAMES = 3
/** How many moments are remembered. */
const MOMENTS = 3

/** Where one client writes alone, in one bucket: a few names, and when it leaves them, as many others. */
export class Folder {
  #generation = 0
  #moments: Moment[] = []

  constructor(
    private readonly client: number,
    readonly bucket: string,
    readonly keeping: Keeping,
  ) {}

  /** How its names begin. */
  get prefix(): string {
    return `${this.client}-${this.#generation}/`
  }

  get names(): [string, ...string[]] {
    return Array.from({ length: NAMES }, (_, index) => `${this.prefix}${index}`) as [string, ...string[]]
  }

  /** Names with their bucket. */
  get paths(): string[] {
    return this.names.map((name) => `${this.bucket}/${name}`)
  }

  leave(): void {
    this.#generation++
    this.forget()
  }

  get moments(): readonly Moment[] {
    return this.#moments
  }

  /** Something was taken out of its history: what was there before that, nobody knows any more. */
  forget(): void {
    this.#moments = []
  }

  /** @param now what a path has now */
  note(at: string, now: (path: string) => Entry | undefined): void {
    const there = this.paths.flatMap((path) => {
      const entry = now(path)
      return entry?.kind === 'object' ? [[path, entry] as const] : []
    })
    // Whose id was not told cannot be found again.
    if (there.some(([, { id }]) => id === undefined)) return
    this.#moments = [...this.#moments, { at, objects: new Map(there) }].slice(-MOMENTS)
  }
}
