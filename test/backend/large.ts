import { isFull } from '../faults/size.ts'

const MiB = 1024 * 1024

/** What nobody may hold in memory as a whole, in bytes. */
export const LARGE = (isFull ? 256 : 160) * MiB

/** By which the process may grow while that much passes: what is on its way, and what is not yet collected. In bytes. */
export const LARGE_GROWTH = 120 * MiB
