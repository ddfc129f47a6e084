import { callerContext } from '../../../src/database/as-caller.ts'
import { bareLoop } from '../bare.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { inBuckets } from '../stores.ts'
import { CONNECTIONS, USER } from '../strongroom.ts'

/** A small object that a policy shows, against the one prepared call that finds its row. */
export async function smallGetRls(bench: Bench): Promise<Row[]> {
  const seconds = smallSeconds(bench)
  return inBuckets(bench, 'get-rls', 'authenticated', async ({ server, who, compare }) => [
    await compare({
      work: `4 KiB GET ${who}`,
      unit: '/s',
      on: async (store) => {
        await store.upload('small.bin', new Uint8Array(4096))
        const url = store.url('object/authenticated', 'small.bin')
        const headers = { authorization: `Bearer ${store.token}` }
        return { measure: () => requestsPerSecond({ url, headers, lasts: { seconds } }, bench.folder) }
      },
      reference: {
        name: 'postgres calling read_object',
        on: ({ token, bucket }) => {
          const context = callerContext({
            ...{ role: 'authenticated', subject: USER, token, userBuckets: false },
            claims: { role: 'authenticated', iss: 'strongroom', iat: 1_700_000_000, sub: USER },
            ...{ operation: 'storage.object.get_authenticated', method: 'GET' },
            path: `/object/authenticated/${bucket}/small.bin`,
            headers: { authorization: `Bearer ${token}` },
          })
          const values = ['caller', bucket, 'small.bin', context]
          const args = { database: server.database, connections: CONNECTIONS, values }
          return bareLoop('read-row', args, seconds)
        },
      },
      budget: { atLeast: 0.4 },
    }),
  ])
}
