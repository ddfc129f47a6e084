import { bareLoop } from '../bare.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { inBuckets, type Store } from '../stores.ts'
import { CONNECTIONS, USER } from '../strongroom.ts'

const SIZE = 4096

/** A small upload under RLS, flushed to the disk, against the insert of its row; and over what is there. */
export async function smallUpload(bench: Bench): Promise<Row[]> {
  return inBuckets(bench, 'upload', 'authenticated', async ({ server, who, compare }) => [
    await compare({
      work: `4 KiB upload ${who}`,
      unit: '/s',
      on: async (store) => inserting(bench, store, 'new'),
      reference: {
        name: 'Drizzle inserting the row',
        on: ({ bucket }) => {
          const metadata = {
            eTag: `"${'0'.repeat(64)}"`,
            size: SIZE,
            mimetype: 'text/plain',
            cacheControl: 'no-cache',
            lastModified: new Date().toISOString(),
            contentLength: SIZE,
            httpStatusCode: 200,
          }
          const { database } = server
          const args = { database, connections: CONNECTIONS, bucket, subject: USER, metadata }
          return bareLoop('insert-row', args, smallSeconds(bench))
        },
      },
      budget: { atLeast: 0.5 },
    }),
  ])
}

/** How many names the upserts go over. */
const UPSERTED = 1000

/** A small upload over what is there, against one to a new name. */
export async function smallUpsert(bench: Bench): Promise<Row[]> {
  return inBuckets(bench, 'upsert', 'authenticated', async ({ who, compare }) => [
    await compare({
      work: `4 KiB upsert ${who}`,
      unit: '/s',
      on: async (store) => {
        const load = { ...upload(store, 'old'), numberedTo: UPSERTED }
        const headers = { ...load.headers, 'x-upsert': 'true' }
        const send = (lasts: { seconds: number } | { requests: number }) =>
          requestsPerSecond({ ...load, headers, lasts }, bench.folder)
        await send({ requests: 2 * UPSERTED }) // so that each name is there
        return { measure: () => send({ seconds: smallSeconds(bench) }) }
      },
      reference: { name: 'insert', on: async (store) => inserting(bench, store, 'new') },
    }),
  ])
}

function inserting(bench: Bench, store: Store, folder: string) {
  const lasts = { seconds: smallSeconds(bench) }
  return {
    measure: (round: number) =>
      requestsPerSecond({ ...upload(store, `${folder}${round}`), numberedTo: FOR_EVER, lasts }, bench.folder),
  }
}

function upload(store: Store, folder: string) {
  return {
    url: store.url('object', `${folder}/`),
    method: 'POST' as const,
    headers: { authorization: `Bearer ${store.token}`, 'content-type': 'text/plain' },
    body: 'x'.repeat(SIZE),
  }
}
