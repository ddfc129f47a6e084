import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bench } from './family.ts'
import { IN_FLIGHT, type Load, requestsPerSecond } from './load.ts'
import { freePort, startReference } from './processes.ts'
import type { Contestant } from './rounds.ts'
import type { Comparison } from './stores.ts'

/** `node:http` sending one Buffer, to stand beside small requests. The load is sent to it as it is otherwise. */
export function sendingBuffer(bench: Bench, size: number, load: Omit<Load, 'url'>): Comparison['reference'] {
  return {
    name: 'node:http sending the Buffer',
    on: async () => {
      const port = await freePort()
      await startReference('send-buffer', { port, size })
      return { measure: () => requestsPerSecond({ ...load, url: `http://127.0.0.1:${port}/` }, bench.folder) }
    },
  }
}

/**
 * `node:http` hashing, writing and flushing each body, to stand beside uploads.
 *
 * @param measure how fast uploads to this URL are
 */
export function receivingFile(
  { folder }: Bench,
  measure: (url: string) => Promise<number>,
): Comparison['reference'] {
  return {
    name: 'node:http, hash, write, fsync',
    on: async () => {
      const received = join(folder, 'received')
      await mkdir(received, { recursive: true })
      const port = await freePort()
      await startReference('receive-file', { port, folder: received })
      return { measure: () => measure(`http://127.0.0.1:${port}/`) }
    },
  }
}

/** A script of `references/` that answers with how often per second it did its work. */
export async function bareLoop(script: string, args: object, seconds: number): Promise<Contestant> {
  const bare = await startReference(script, args)
  return { measure: () => bare.ask<number>({ seconds, inFlight: IN_FLIGHT }) }
}
