import type { Policy } from '../api.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, MANY_IN_FLIGHT, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import type { Contestant } from '../rounds.ts'
import { type Arena, inBuckets, Store } from '../stores.ts'
import { startStrongroom } from '../strongroom.ts'
import { upload } from './small-upload.ts'

const SIZE = 4096

/** What every request pays for when it is set, and what the setting is when it is not. */
const SETTINGS = [
  {
    name: 'rate limits', // that nobody reaches: what it costs to count
    env: { STORAGE_RATE_LIMIT_READ: '1000000/1', STORAGE_RATE_LIMIT_WRITE: '1000000/1' },
    without: {},
  },
  { name: 'an audit log of all', env: { STORAGE_AUDIT: 'all' }, without: { STORAGE_AUDIT: 'off' } },
]

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
  { name, env, without }: (typeof SETTINGS)[number],
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
          on: (ours) => on(bench, ours),
          reference: { name: 'without', on: () => on(bench, store) },
        }),
      ]
    } finally {
      await other.stop()
    }
  }
  return inBuckets(bench, 'settings', policy, measure, env)
}
