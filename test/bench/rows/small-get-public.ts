import { sendingBuffer } from '../bare.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'

const SIZE = 4096

/** A small public object, against a server that does nothing but send it. */
export async function smallGetPublic(bench: Bench): Promise<Row[]> {
  const load = { lasts: { seconds: smallSeconds(bench) } }
  return inBuckets(bench, 'get-public', 'public', async ({ compare }) => [
    await compare({
      work: '4 KiB GET of a public object',
      unit: '/s',
      on: async (store) => {
        await store.upload('small.bin', new Uint8Array(SIZE))
        const url = store.url('object/public', 'small.bin')
        return { measure: () => requestsPerSecond({ ...load, url }, bench.folder) }
      },
      reference: sendingBuffer(bench, SIZE, load),
      budget: { atLeast: 0.5 },
    }),
  ])
}
