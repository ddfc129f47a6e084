import { sendingBuffer } from '../bare.ts'
import type { Bench } from '../family.ts'
import { FOR_EVER, IN_FLIGHT, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { inBuckets, type Store } from '../stores.ts'
import { upload } from './small-upload.ts'

const SIZE = 4096

/** How many names one request for many has. */
const NAMES = 1000

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
          await make(bench, store, `turn${round}`, requests)
          return requestsPerSecond({ ...numbered, method: 'DELETE', lasts: { requests } }, bench.folder)
        },
      }),
      reference: sendingBuffer(bench, SIZE, { lasts: { requests } }),
    }),
  ])
}

/** Deletes of many small objects by one request, one such request after the other. */
export async function bulkDelete(bench: Bench): Promise<Row[]> {
  const requests = bench.quick || bench.earlier ? 2 : 5
  return inBuckets(bench, 'delete-1000', 'authenticated', async ({ who, compare }) => [
    await compare({
      work: `names of a delete of ${NAMES} ${who}`,
      unit: '/s',
      on: async (store) => ({
        measure: async (round) => {
          await make(bench, store, `turn${round}`, requests * NAMES)
          let seconds = 0
          for (let first = 1; first <= requests * NAMES; first += NAMES) {
            const prefixes = Array.from({ length: NAMES }, (_, n) => `turn${round}/${first + n}`)
            const begun = performance.now()
            const deleted = await deleteMany(store, prefixes)
            seconds += (performance.now() - begun) / 1000
            if (deleted !== NAMES) throw new Error(`${deleted} of ${NAMES} were deleted`)
          }
          return (requests * NAMES) / seconds
        },
      }),
      budget: { atLeast: 20_000 },
    }),
  ])
}

/** Makes the objects `folder/1` to `folder/count`. */
async function make(bench: Bench, store: Store, folder: string, count: number): Promise<void> {
  // A few more than that: the numbers do not come strictly one after the other.
  const lasts = { requests: count + 2 * IN_FLIGHT }
  await requestsPerSecond({ ...upload(store, folder), numberedTo: FOR_EVER, lasts }, bench.folder)
}

/** @returns how many were there, and are not any more */
async function deleteMany({ api, bucket, token }: Store, prefixes: string[]): Promise<number> {
  const answer = await fetch(`${api.base}/object/${bucket}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ prefixes }),
  })
  const body = await answer.text()
  if (!answer.ok) throw new Error(`${answer.url}: ${answer.status} ${body}`)
  return (JSON.parse(body) as unknown[]).length
}
