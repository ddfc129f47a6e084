import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { Clients } from './crashes/clients.ts'
import { FAULTS, type Fault } from './crashes/faults.ts'
import { takeInventory } from './crashes/inventory.ts'
import { BUCKETS } from './crashes/messages.ts'
import type { Contents } from './crashes/operation.ts'
import { Site } from './crashes/site.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

/** Of each fault; the faults are six. */
const ROUNDS = isFull ? 34 : 1
const CLIENTS = isFull ? ['x', 'y', 'z'] : ['x', 'y']

/** Sessions of a PostgreSQL whose main process is gone may each serve one request more. */
const SURVIVORS = 10

/** Longest time for a round, in milliseconds; a usual one takes about four seconds. */
const ROUND_LIMIT_MS = 180_000

const seed = newSeed()
const random = new Random(seed)

let site: Site
let clients: Clients
let hasFailed = false
const total = new Tally('crashes')

beforeAll(async () => {
  site = await Site.open()
  clients = new Clients(CLIENTS, seed)
  await site.start()
  for (const name of BUCKETS) {
    const response = await site.request('POST', '/bucket', { name })
    expect([response.status, await response.text()]).toEqual([201, expect.anything()])
  }
})

afterAll(async () => {
  await clients?.close()
  await site?.close()
  total.acknowledged = clients?.acknowledged ?? 0
  total.print()
})

// What one failed round has left would be found by all that follow.
beforeEach(({ skip }) => skip(hasFailed, 'an earlier round has failed'))
afterEach(({ task }) => {
  hasFailed ||= task.result?.state === 'fail'
})

describe.each(FAULTS)(
  'kill -9 of $victim, amid uploads, overwrites, moves, copies, deletes and multipart uploads',
  (fault) => {
    it('takes back no answer, mixes no content and leaves nothing behind that a cleanup does not find', {
      timeout: ROUNDS * ROUND_LIMIT_MS,
    }, async () => {
      for (let round = 1; round <= ROUNDS; round++) {
        total.rounds++
        const outcome = await crash(fault)
        total.lost += outcome.lost.length
        total.leaked += outcome.leaked.length
        expect(outcome, `round ${round} with FAULTS_SEED=${seed}`).toEqual({ lost: [], leaked: [] })
      }
    })
  },
)

it('ends in order afterwards', async () => {
  site.server.signal('SIGTERM')
  expect(await site.server.ended).toMatchObject({ code: 0, signal: null })
  expect(site.server.postgres).toBeUndefined()
})

/** One round: work, a fault, the service again without anybody's help, and a comparison of all there is. */
async function crash(fault: Fault): Promise<{ lost: string[]; leaked: string[] }> {
  clients.mayGoUnanswered = false
  const contested: [string, ...string[]] = [
    `alpha/contested/${total.rounds}`,
    `beta/contested/${total.rounds}`,
  ]
  clients.work({ url: site.url, token: site.token, keys: site.keys, contested })
  const moment = clients.events + 20 + random.below(300)
  await until(() => clients.events > moment, 'the clients are at work')
  await delay(random.below(20)) // events come in clusters: this is to hit between them too

  clients.mayGoUnanswered = fault.endsServer
  await fault.strike(site, random)
  clients.struck()
  if (fault.endsServer) {
    await clients.stop()
    await site.start()
  } else {
    await until(() => {
      if (!site.server.isRunning) throw new Error(`the server has ended: ${site.server.stderr}`)
      return clients.acknowledgedSince > SURVIVORS
    }, 'the service is back')
    await clients.stop()
  }

  const stored = await readAll()
  const problems = clients.settle(stored)
  // In reduced size once, in the end: what a round has left stays until then.
  const isCleaned = isFull || fault === FAULTS.at(-1)
  if (isCleaned) {
    // Nobody comes back for uploads in parts that were not finished.
    await site.sql((sql) => sql`update storage.resumable_uploads set expires_at = now() where ended is null`)
    await site.cleanup()
  }
  const { rows, lost, leaked } = await takeInventory(site)
  lost.push(...differences(rows, stored))
  for (const key of contested.filter((key) => stored.has(key))) {
    expect((await site.request('DELETE', `/object/${key}`)).status).toBe(204)
  }
  return { lost: [...problems, ...lost], leaked: isCleaned ? leaked : [] }
}

async function readAll(): Promise<Contents> {
  const stored = new Map<string, string>()
  for (const key of clients.keys) {
    const response = await site.request('GET', `/object/${key}`)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (response.status === 200) stored.set(key, createHash('sha256').update(bytes).digest('hex'))
    else expect([key, response.status]).toEqual([key, 404])
  }
  return stored
}

/** Where the rows and what can be read are not the same. */
function differences(rows: Contents, stored: Contents): string[] {
  return [...new Set([...rows.keys(), ...stored.keys()])]
    .filter((key) => rows.get(key) !== stored.get(key))
    .map((key) => `${key} reads as ${stored.get(key)}, and its row says ${rows.get(key)}`)
}
