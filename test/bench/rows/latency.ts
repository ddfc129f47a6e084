import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, type Load, MANY_IN_FLIGHT, p99 } from '../load.ts'
import type { Row } from '../results.ts'
import { type Comparison, inBuckets } from '../stores.ts'
import { upload } from './small-upload.ts'

/** How long one in a hundred small requests takes at least, when many are under way. */
export async function latency(bench: Bench): Promise<Row[]> {
  const wait = (load: Omit<Load, 'lasts' | 'inFlight'>) =>
    p99({ ...load, inFlight: MANY_IN_FLIGHT, lasts: { seconds: smallSeconds(bench) } }, bench.folder)
  return inBuckets(bench, 'latency', 'authenticated', async ({ who, compare }) => {
    const row = (work: string, on: Comparison['on']) =>
      compare({ work: `p99 of a 4 KiB ${work} ${who}, ${MANY_IN_FLIGHT} at once`, unit: 'ms', on })
    return [
      await row('upload', async (store) => ({
        measure: (round) => wait({ ...upload(store, `new${round}`), numberedTo: FOR_EVER }),
      })),
      await row('GET', async (store) => {
        await store.upload('small.bin', new Uint8Array(4096))
        const url = store.url('object/authenticated', 'small.bin')
        return { measure: () => wait({ url, headers: { authorization: `Bearer ${store.token}` } }) }
      }),
    ]
  })
}
