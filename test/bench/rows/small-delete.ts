import { sendingBuffer } from '../bare.ts'
import type { Bench } from '../family.ts'
import { IN_FLIGHT, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'

const SIZE = 4096

/** Deletes of small objects that were uploaded before the turn, each once. */
export async function smallDelete(bench: Bench): Promise<Row[]> {
  const requests = bench.quick ? 1000 : 4000
  return inBuckets(bench, 'delete', 'authenticated', async ({ who, compare }) => [
    await compare({
      work: `delete ${who}`,
      unit: '/s',
      on: async (store) => ({
        measure: async (round) => {
          const headers = { authorization: `Bearer ${store.token}` }
          const numbered = { url: store.url('object', `turn${round}/`), numberedTo: 2 * requests, headers }
          await requestsPerSecond(
            {
              ...numbered,
              method: 'POST',
              body: 'x'.repeat(SIZE),
              // A few more than are deleted: the numbers do not come strictly one after the other.
              lasts: { requests: requests + 2 * IN_FLIGHT },
            },
            bench.folder,
          )
          return requestsPerSecond({ ...numbered, method: 'DELETE', lasts: { requests } }, bench.folder)
        },
      }),
      reference: sendingBuffer(bench, SIZE, { lasts: { requests } }),
    }),
  ])
}
