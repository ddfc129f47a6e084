import { callingReadObject } from '../bare.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { type Arena, inBuckets } from '../stores.ts'

/** A small object that a policy shows, against the one prepared call that finds its row. */
export async function smallGetRls(bench: Bench): Promise<Row[]> {
  return inBuckets(bench, 'get-rls', 'authenticated', async (arena) => [
    await get(bench, arena, { work: `4 KiB GET ${arena.who}`, atLeast: 0.4 }),
  ])
}

/** The same with nothing in memory, against the call that finds the row and its bytes. */
export async function smallGetRlsCold(bench: Bench): Promise<Row[]> {
  const work = (who: string) => `4 KiB GET ${who}, not in memory`
  return inBuckets(
    bench,
    'get-rls-cold',
    'authenticated',
    async (arena) => [await get(bench, arena, { work: work(arena.who), atLeast: 0.6, bytesUnless: '' })],
    { STORAGE_CACHE_SIZE: '0' },
  )
}

function get(
  bench: Bench,
  { server, compare }: Arena,
  { work, atLeast, bytesUnless }: { work: string; atLeast: number; bytesUnless?: string },
): Promise<Row> {
  const lasts = { seconds: smallSeconds(bench) }
  const asked = { access: 'caller', operation: 'storage.object.get_authenticated', method: 'GET' } as const
  return compare({
    work,
    unit: '/s',
    on: async (store) => {
      await store.upload('small.bin', new Uint8Array(4096))
      const url = store.url('object/authenticated', 'small.bin')
      const headers = { authorization: `Bearer ${store.token}` }
      return { measure: () => requestsPerSecond({ url, headers, lasts }, bench.folder) }
    },
    reference: callingReadObject(bench, server, {
      ...asked,
      ...{ route: 'object/authenticated', name: 'small.bin' },
      ...(bytesUnless !== undefined && { bytesUnless }),
    }),
    budget: { atLeast },
  })
}
