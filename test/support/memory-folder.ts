import { statfsSync } from 'node:fs'
import { freemem } from 'node:os'

const MEMORY = '/dev/shm'
const GiB = 2 ** 30

/**
 * A folder in memory with room for a run's databases and objects; undefined where there is none. Each test server has
 * a database of hundreds of small files, which soon go again: that takes a disk's file system twice the time of all else.
 */
export function memoryFolder(): string | undefined {
  if (process.platform !== 'linux' || freemem() < 8 * GiB) return undefined
  try {
    const { bavail, bsize } = statfsSync(MEMORY)
    return bavail * bsize >= 4 * GiB ? MEMORY : undefined
  } catch {
    return undefined
  }
}
