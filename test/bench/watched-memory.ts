import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'

/** Follows the memory of a process until it ends or is not watched any more. Linux only; 0 elsewhere. */
export function watchPeak(pid: number): { stop(): Promise<number>; wasAlive(): boolean } {
  let peak = 0
  let isWatching = true
  let isAlive = true
  const watching = (async () => {
    while (isWatching && isAlive) {
      const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
      const found = /VmHWM:\s+(\d+) kB/.exec(status)?.[1]
      if (found !== undefined) peak = Number(found) * 1024
      else if (process.platform === 'linux') isAlive = false
      await delay(50)
    }
  })()
  return {
    stop: async () => {
      isWatching = false
      await watching
      return peak
    },
    wasAlive: () => isAlive,
  }
}
