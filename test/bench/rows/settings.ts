import { setTimeout as delay } from 'node:timers/promises'
import type { Policy } from '../api.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, MANY_IN_FLIGHT, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import type { Contestant } from '../rounds.ts'
import { type Arena, inBuckets, Store } from '../stores.ts'
import { startStrongroom } from '../strongroom.ts'
import { upload } from './small-upload.ts'

const SIZE = 4096

interface Setting {
  name: string
  env?: Record<string, string>
  /** What it is when it is not set. */
  without?: Record<string, string>
  /** What goes on beside the load. @param isOver fires at its end */
  beside?(store: Store, isOver: AbortSignal): Promise<void>
}

/** What every request pays for. */
const SETTINGS: Setting[] = [
  {
    name: 'rate limits', // that nobody reaches: what it costs to count
    env: { STORAGE_RATE_LIMIT_READ: '1000000/1', STORAGE_RATE_LIMIT_WRITE: '1000000/1' },
  },
  { name: 'an audit log of writes', without: { STORAGE_AUDIT: 'off' } },
  { name: 'an audit log of all', env: { STORAGE_AUDIT: 'all' }, without: { STORAGE_AUDIT: 'off' } },
  // They are counted with and without. Prometheus asks once a minute, unless it is told otherwise.
  { name: 'metrics that are read each second', beside: readMetrics },
]

async function readMetrics({ api }: Store, isOver: AbortSignal): Promise<void> {
  const headers = { authorization: `Bearer ${api.serviceToken}` }
  while (!isOver.aborted) {
    const answer = await fetch(`${api.base}/metrics`, { headers })
    if (!answer.ok) throw new Error(`metrics: ${answer.status}`)
    await answer.text()
    await delay(1000, undefined, { signal: isOver }).catch(() => {})
  }
}

interface Work {
  name: string
  policy: Policy
  on(bench: Bench, store: Store): Promise<Contestant>
}

const WORKS: Work[] = [
  {
    name: '4 KiB upload',
    policy: 'authenticated',
    on: async (bench, store) => ({
      measure: (round) => {
        const load = { ...upload(store, `round-${round}`), numberedTo: FOR_EVER, inFlight: MANY_IN_FLIGHT }
        return requestsPerSecond({ ...load, lasts: { seconds: smallSeconds(bench) } }, bench.folder)
      },
    }),
  },
  {
    name: '4 KiB GET of a public object',
    policy: 'public',
    on: async (bench, store) => {
      await store.upload('small.bin', new Uint8Array(SIZE))
      const url = store.url('object/public', 'small.bin')
      const lasts = { seconds: smallSeconds(bench) }
      return { measure: () => requestsPerSecond({ url, lasts }, bench.folder) }
    },
  },
]

/** Small requests to a server with a setting, against one without. */
export async function settings(bench: Bench): Promise<Row[]> {
  const rows: Row[] = []
  for (const setting of SETTINGS) {
    for (const work of WORKS) rows.push(...(await withAndWithout(bench, setting, work)))
  }
  return rows
}

function withAndWithout(
  bench: Bench,
  { name, env, without = {}, beside }: Setting,
  { name: work, policy, on }: Work,
): Promise<Row[]> {
  const measure = async ({ compare }: Arena) => {
    const other = await startStrongroom(bench.folder, 'settings-without', { env: without })
    try {
      await other.createBucket('bench', policy)
      const store = new Store(other.api, 'bench', other.userToken)
      return [
        await compare({
          work: `${work}, with ${name}`,
          unit: '/s',
          on: async (ours) => whileItGoesOn(beside, ours, await on(bench, ours)),
          reference: { name: 'without', on: () => on(bench, store) },
        }),
      ]
    } finally {
      await other.stop()
    }
  }
  return inBuckets(bench, 'settings', policy, measure, env)
}

function whileItGoesOn(beside: Setting['beside'], store: Store, { measure }: Contestant): Contestant {
  if (!beside) return { measure }
  return {
    measure: async (round) => {
      const over = new AbortController()
      const going = beside(store, over.signal)
      const result = await measure(round).finally(() => over.abort())
      await going
      return result
    },
  }
}
