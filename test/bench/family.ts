import type { EarlierBuild } from './earlier-build.ts'
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
  /** How many a large bucket has, where lists are measured; by itself it depends on `quick`. */
  objects: number | undefined
  /** Another server to stand beside, in place of the references. */
  target: Target | undefined
  /** Another commit's build to stand beside, in place of the references. */
  earlier: EarlierBuild | undefined
  say(text: string): void
}

export type Family = (bench: Bench) => Promise<Row[]>

/** How long one measurement of small requests takes, in seconds. */
export function smallSeconds({ quick, earlier }: Bench): number {
  if (quick) return 1
  return earlier ? 2 : 4
}

/** How many bytes a large file has. */
export function largeSize({ quick }: Bench): number {
  return (quick ? 256 : 1024) * MIB
}

export const MIB = 1024 * 1024
