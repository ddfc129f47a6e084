import { bareLoop } from '../bare.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, IN_FLIGHT, MANY_IN_FLIGHT, requestsPerSecond } from '../load.ts'
import type { Row } from '../results.ts'
import { FLUSH_MS, slowFlush } from '../slow-flush.ts'
import { type Arena, inBuckets, type Reference, type Store } from '../stores.ts'
import { CONNECTIONS, type Strongroom, USER } from '../strongroom.ts'

const SIZE = 4096

/** A small upload under RLS, flushed to the disk, against the insert of its row, alone and with the bytes. */
export async function smallUpload(bench: Bench): Promise<Row[]> {
  return inBuckets(bench, 'upload', 'authenticated', async ({ server, who, isBesideServer, compare }) => {
    const row = (folder: string, reference: Reference, atLeast: number) =>
      compare({
        work: `4 KiB upload ${who}`,
        unit: '/s',
        on: async (store) => inserting(bench, store, folder, MANY_IN_FLIGHT),
        reference,
        budget: { atLeast },
      })
    const alone = await row('one', insertingRow(bench, server), 0.6)
    return isBesideServer ? [alone] : [alone, await row('two', await insertingBytes(bench, server), 1)]
  })
}

/** The same on a disk that takes its time, which is the database's disk too. */
export async function smallUploadSlowFlush(bench: Bench): Promise<Row[]> {
  const slow = await slowFlush(bench.folder)
  const work = `4 KiB upload, a flush taking ${FLUSH_MS} ms`
  if (typeof slow === 'string') return [{ work, skipped: slow }]
  const measure = async ({ server, before, compare }: Arena) => {
    await slow.check(server)
    if (before) await slow.check(before)
    return [
      await compare({
        work,
        unit: '/s',
        on: async (store) => inserting(bench, store, 'new', MANY_IN_FLIGHT),
        reference: await insertingBytes(bench, server),
      }),
    ]
  }
  return inBuckets(bench, 'upload-slow', 'authenticated', measure, slow.env)
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

function inserting(bench: Bench, store: Store, folder: string, inFlight = IN_FLIGHT) {
  const lasts = { seconds: smallSeconds(bench) }
  return {
    measure: (round: number) =>
      requestsPerSecond(
        { ...upload(store, `${folder}${round}`), numberedTo: FOR_EVER, inFlight, lasts },
        bench.folder,
      ),
  }
}

/** A small upload. Numbers go behind its URL. */
export function upload(store: Store, folder: string) {
  return {
    url: store.url('object', `${folder}/`),
    method: 'POST' as const,
    headers: { authorization: `Bearer ${store.token}`, 'content-type': 'text/plain' },
    body: 'x'.repeat(SIZE),
  }
}

/** The row alone. @param bytes go into a table of their own */
function insertingRow(
  bench: Bench,
  { database }: Strongroom,
  bytes?: { table: string; size: number },
): Reference {
  const metadata = {
    eTag: `"${'0'.repeat(64)}"`,
    size: SIZE,
    mimetype: 'text/plain',
    cacheControl: 'no-cache',
    lastModified: new Date().toISOString(),
    contentLength: SIZE,
    httpStatusCode: 200,
  }
  return {
    name: bytes ? 'Drizzle inserting row and bytes' : 'Drizzle inserting the row',
    on: ({ bucket }) => {
      const args = { database, connections: CONNECTIONS, bucket, subject: USER, metadata, bytes }
      return bareLoop('insert-row', args, smallSeconds(bench), MANY_IN_FLIGHT)
    },
  }
}

/** Row and bytes, as a server would insert them that keeps them in a table beside its rows. */
async function insertingBytes(bench: Bench, server: Strongroom) {
  const table = 'reference_bytes'
  await server.admin.unsafe(`
    create table ${table} (version uuid primary key, bytes bytea not null);
    alter table ${table} alter column bytes set storage external;
    grant insert on ${table} to authenticated`)
  return insertingRow(bench, server, { table, size: SIZE })
}
