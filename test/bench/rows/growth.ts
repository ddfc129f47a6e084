import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, IN_FLIGHT, type Load, requestsPerSecond } from '../load.ts'
import { stopAll } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { Store } from '../stores.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'

const SIZE = 4096

/** How many rows have bytes. By name they stand evenly among the others. */
const READABLE = 1000

/** What work costs in a large database, against a small one. All stand side by side, each with a server. */
export async function growth(bench: Bench): Promise<Row[]> {
  const counts = bench.quick ? [1000, 10_000, 100_000] : [10_000, 100_000, 1_000_000]
  const servers: Strongroom[] = []
  try {
    const stores: Store[] = []
    for (const count of counts) {
      const server = await startStrongroom(bench.folder, `growth-${count}`)
      servers.push(server)
      bench.say(`filling in ${count} objects`)
      stores.push(await fill(bench, server, count))
    }
    const rows: Row[] = []
    for (const [work, turn] of Object.entries(works(bench))) {
      const [few = [], ...more] = await alternate(
        stores.map((store) => ({ measure: (round: number) => turn(store, round) })),
        bench.rounds,
      )
      more.forEach((figures, index) => {
        rows.push({
          work: `${work}, ${counts[index + 1]} rows`,
          unit: '/s',
          ours: figures,
          reference: { name: `with ${counts[0]}`, figures: few },
          budget: { atLeast: 0.5 },
        })
      })
    }
    return rows
  } finally {
    await stopAll()
    for (const server of servers) await server.stop()
  }
}

/** Rows by SQL, and through the server those that have bytes. */
async function fill(bench: Bench, server: Strongroom, count: number): Promise<Store> {
  await server.createBucket('bench', 'authenticated')
  await server.admin`
    insert into storage.objects (bucket_id, name, version, metadata)
    select 'bench', 'made/' || n % ${READABLE}::int + 1 || '/' || n, gen_random_uuid(),
      '{"size": 4096, "mimetype": "text/plain", "eTag": "\\"0\\""}'
    from generate_series(1, ${count - READABLE}::int) n`
  const store = new Store(server.api, 'bench', server.userToken)
  const body = 'x'.repeat(SIZE)
  // Twice as many, for the numbers do not come strictly one after the other.
  await requestsPerSecond(
    {
      ...{ url: store.url('object', 'made/'), method: 'POST', body, numberedTo: READABLE },
      headers: { authorization: `Bearer ${server.userToken}`, 'x-upsert': 'true' },
      lasts: { requests: 2 * READABLE },
    },
    bench.folder,
  )
  await server.admin`vacuum analyze storage.objects`
  return store
}

function works(bench: Bench): Record<string, (store: Store, round: number) => Promise<number>> {
  const deletes = bench.quick ? 500 : 2000
  const send = (store: Store, load: Omit<Load, 'headers'>, headers = {}) =>
    requestsPerSecond(
      { ...load, headers: { authorization: `Bearer ${store.token}`, ...headers } },
      bench.folder,
    )
  const lasts = { seconds: smallSeconds(bench) }
  const body = 'x'.repeat(SIZE)
  return {
    '4 KiB GET under RLS': (store) =>
      send(store, { url: store.url('object/authenticated', 'made/'), numberedTo: READABLE, lasts }),
    '4 KiB upload under RLS': (store, round) => {
      const url = store.url('object', `new${round}/`)
      return send(store, { url, method: 'POST', body, numberedTo: FOR_EVER, lasts })
    },
    'list of 100 under RLS': (store) =>
      send(
        store,
        {
          url: `${store.api.base}/object/list-v2/${store.bucket}`,
          method: 'POST',
          body: JSON.stringify({ prefix: 'made/', limit: 100 }),
          lasts,
        },
        { 'content-type': 'application/json' },
      ),
    'delete under RLS': async (store, round) => {
      const numbered = { url: store.url('object', `gone${round}/`), numberedTo: 2 * deletes }
      await send(store, { ...numbered, method: 'POST', body, lasts: { requests: deletes + 2 * IN_FLIGHT } })
      return send(store, { ...numbered, method: 'DELETE', lasts: { requests: deletes } })
    },
  }
}
