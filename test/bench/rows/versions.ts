import { signRequest, UNSIGNED } from '../../support/s3-signer.ts'
import { type Bench, smallSeconds } from '../family.ts'
import { type Load, requestsPerSecond } from '../load.ts'
import type { Budget, Result, Row } from '../results.ts'
import { alternate, type Contestant, median } from '../rounds.ts'
import { Store } from '../stores.ts'
import { readKeysOf, type Strongroom, startStrongroom } from '../strongroom.ts'
import { upload } from './small-upload.ts'

/** How many names the uploads go over, and how many a list shows. */
const NAMES = 1000
/** An overwrite may take 1.15 times as long. */
const NO_SLOWER: Budget = { atLeast: 0.87, beyondNoise: true }
/** A list is not to know how many versions there are. */
const FLAT: Budget = { atMost: 1.1, beyondNoise: true }
/** As a bucket has them that says nothing else, the current one included. */
const VERSIONS = 10

/** What a bucket that keeps versions costs, against one that keeps none. */
export async function versions(bench: Bench): Promise<Row[]> {
  const server = await startStrongroom(bench.folder, 'versions')
  try {
    const [none, growing, full] = [
      await open(server, 'none'),
      await open(server, 'growing', 1000),
      await open(server, 'full', VERSIONS),
    ]
    const [overwrites, overwritesGrowing, overwritesFull] = [
      await overwriting(bench, none, 2),
      await overwriting(bench, growing, 2),
      await overwriting(bench, full, 2 * VERSIONS),
    ]
    return [
      await compare(
        bench,
        '4 KiB upsert that adds a version',
        '/s',
        [overwritesGrowing, overwrites],
        NO_SLOWER,
      ),
      await compare(
        bench,
        `4 KiB upsert over ${VERSIONS} versions`,
        '/s',
        [overwritesFull, overwrites],
        NO_SLOWER,
      ),
      await compare(bench, `4 KiB GET of one of ${VERSIONS} versions`, '/s', [
        await reading(bench, server, full),
        { measure: () => get(bench, full, urlsOf(full)) },
      ]),
      ...(await lists(bench, server, full, none)),
    ]
  } finally {
    await server.stop()
  }
}

/** @param most how many versions a name has; none are kept without it */
async function open(server: Strongroom, bucket: string, most?: number): Promise<Store> {
  await server.createBucket(bucket, 'authenticated')
  if (most !== undefined) {
    await server.api.send('PUT', `/bucket/${bucket}`, { versioning_status: 'ENABLED' })
    await server.admin`update storage.buckets set max_versions = ${most} where id = ${bucket}`
  }
  return new Store(server.api, bucket, server.userToken)
}

/** @param times how often each name has been uploaded before */
async function overwriting(bench: Bench, store: Store, times: number): Promise<Contestant> {
  const load = { ...upload(store, 'old'), numberedTo: NAMES }
  const headers = { ...load.headers, 'x-upsert': 'true' }
  const send = (lasts: Load['lasts']) => requestsPerSecond({ ...load, headers, lasts }, bench.folder)
  await send({ requests: times * NAMES })
  return { measure: () => send({ seconds: smallSeconds(bench) }) }
}

/** Of each name one that is not what is there now. */
async function reading(bench: Bench, { admin }: Strongroom, store: Store): Promise<Contestant> {
  const rows = await admin<{ name: string; version: string }[]>`
    select distinct on (name) name, version from storage.object_versions where bucket_id = ${store.bucket}
    order by name, sequence desc`
  const urls = rows.map(({ name, version }) => `${store.url('object', name)}?versionId=${version}`)
  return { measure: () => get(bench, store, urls) }
}

function urlsOf(store: Store): string[] {
  return Array.from({ length: NAMES }, (_, n) => store.url('object', `old/${n + 1}`))
}

function get(bench: Bench, store: Store, urls: string[]): Promise<number> {
  const headers = { authorization: `Bearer ${store.token}` }
  const inTurn = urls.map((url) => ({ url, headers }))
  return requestsPerSecond(
    { url: store.url('object', ''), inTurn, lasts: { seconds: smallSeconds(bench) } },
    bench.folder,
  )
}

/** Of what is there now, where each name has ten versions and where it has one. */
async function lists(bench: Bench, server: Strongroom, full: Store, none: Store): Promise<Row[]> {
  const { s3: keys } = await readKeysOf(server.dataDir)
  const rest = async ({ api, bucket }: Store, route: string, more = {}) => {
    const body = { prefix: 'old/', limit: NAMES, ...more }
    return api.send('POST', `/object/${route}/${bucket}`, body)
  }
  const kinds: Record<string, (store: Store) => Promise<number>> = {
    v1: async (store) => ((await rest(store, 'list')) as unknown[]).length,
    v2: async (store) => {
      const page = await rest(store, 'list-v2', { with_delimiter: true })
      return (page as { objects: unknown[] }).objects.length
    },
    'by S3': async ({ api, bucket }) => {
      const url = `${api.base}/s3/${bucket}?list-type=2&prefix=old%2F&delimiter=%2F`
      const headers = signRequest({ method: 'GET', url, payload: UNSIGNED }, keys)
      const answer = await fetch(url, { headers })
      return (await answer.text()).split('<Contents>').length - 1
    },
  }
  const rows: Row[] = []
  for (const [name, ask] of Object.entries(kinds)) {
    const one = (store: Store) => ({ measure: () => medianTime(() => ask(store), bench.quick ? 5 : 15) })
    const work = `list ${name} of ${NAMES} names with ${VERSIONS} versions`
    rows.push(await compare(bench, work, 'ms', [one(full), one(none)], FLAT))
  }
  return rows
}

/** Of several lists one after the other, in milliseconds. */
async function medianTime(ask: () => Promise<number>, times: number): Promise<number> {
  const taken: number[] = []
  for (let n = 0; n < times; n++) {
    const startedAt = performance.now()
    const shown = await ask()
    taken.push(performance.now() - startedAt)
    if (shown !== NAMES) throw new Error(`a list showed ${shown} entries`)
  }
  return median(taken)
}

async function compare(
  bench: Bench,
  work: string,
  unit: Result['unit'],
  contestants: [Contestant, Contestant],
  budget?: Budget,
): Promise<Row> {
  const [ours = [], without = []] = await alternate(contestants, bench.rounds)
  const reference = { name: unit === 'ms' ? 'with one' : 'without', figures: without }
  return { work, unit, ours, reference, ...(budget && { budget }) }
}
