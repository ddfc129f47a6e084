import type { Row } from './results.ts'
import type { Target } from './stores.ts'

/** What a family of rows gets to work with. */
export interface Bench {
  /** For everything that is needed on the way. */
  folder: string
  /** Smaller and shorter, for a look; the numbers are then worth less. */
  quick: boolean
  /** How often each contestant has its turn. */
  rounds: number
  /** Another server to stand beside, in place of the references. */
  target: Target | undefined
  say(text: string): void
}

export type Family = (bench: Bench) => Promise<Row[]>

/** How long one measurement of small requests takes, in seconds. */
export function smallSeconds({ quick }: Bench): number {
  return quick ? 1 : 4
}

/** How many bytes a large file has. */
export function largeSize({ quick }: Bench): number {
  return (quick ? 256 : 1024) * MIB
}

export const MIB = 1024 * 1024
