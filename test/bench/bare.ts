import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { callerContext } from '../../src/database/as-caller.ts'
import type { Access } from '../../src/model/caller.ts'
import { type Bench, smallSeconds } from './family.ts'
import { IN_FLIGHT, type Load, requestsPerSecond } from './load.ts'
import { freePort, startReference } from './processes.ts'
import type { Contestant } from './rounds.ts'
import type { Reference } from './stores.ts'
import { CONNECTIONS, type Strongroom, USER } from './strongroom.ts'

/** `node:http` sending one Buffer, to stand beside small requests. The load is sent to it as it is otherwise. */
export function sendingBuffer(bench: Bench, size: number, load: Omit<Load, 'url'>): Reference {
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
export function receivingFile({ folder }: Bench, measure: (url: string) => Promise<number>): Reference {
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
export async function bareLoop(
  script: string,
  args: object,
  seconds: number,
  inFlight = IN_FLIGHT,
): Promise<Contestant> {
  const bare = await startReference(script, args)
  return { measure: () => bare.ask<number>({ seconds, inFlight }) }
}

/**
 * `postgres` calling the function that reads what is asked for, to stand beside requests that ask for nothing else.
 *
 * @param request as the server would get it
 * @param bytesUnless as of storage.read_row: '' for the bytes too, if they are in the database
 */
export function callingReadObject(
  bench: Bench,
  { database }: Strongroom,
  request: {
    access: Access
    name: string
    operation: string
    method: string
    route: string
    bytesUnless?: string
  },
): Reference {
  const { access, name, operation, method, route, bytesUnless = null } = request
  return {
    name: 'postgres calling read_object',
    on: ({ token, bucket }) => {
      const context = callerContext({
        ...{ role: 'authenticated', subject: USER, token, userBuckets: false },
        claims: { role: 'authenticated', iss: 'strongroom', iat: 1_700_000_000, sub: USER },
        ...{ operation, method },
        path: `/${route}/${bucket}/${name}`,
        headers: { authorization: `Bearer ${token}` },
      })
      const values = [access, bucket, name, bytesUnless, context]
      return bareLoop('read-row', { database, connections: CONNECTIONS, values }, smallSeconds(bench))
    },
  }
}
