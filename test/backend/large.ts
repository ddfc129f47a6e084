import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isFull } from '../faults/size.ts'

const MiB = 1024 * 1024

/** What nobody may hold in memory as a whole, in bytes. */
export const LARGE = (isFull ? 256 : 112) * MiB

/** By which the process may grow while that much passes: what is on its way. In bytes. */
export const LARGE_GROWTH = (isFull ? 120 : 80) * MiB

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

/** What this process holds, in bytes. Its resident memory would tell of the tests before, too, and of their garbage. */
export function heldBytes(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** So often is it worth to look, which takes long, in chunks of 64 KiB: a few times until `LARGE_GROWTH` has passed. */
export const CHUNKS_PER_LOOK = 256
