import type { Bench } from './family.ts'
import type { Row } from './results.ts'
import { alternate, median } from './rounds.ts'
import { type Strongroom, startStrongroom } from './strongroom.ts'

/** How many names a small bucket has, which one list can show. */
export const FEW = 1000

/** How names are laid out: all in one folder, or the first thousand in as many folders. */
const NAMES = {
  flat: `'file-' || to_char(n, 'FM0000000')`,
  // In the large bucket a folder has many files, which a list must not touch.
  folders: `'folder-' || to_char(n % {folders}, 'FM0000000') || '/file-' || n`,
}

export type Layout = keyof typeof NAMES
export const LAYOUTS = ['flat', 'folders'] as const

/** Number `n` of a layout's files or folders, by name. */
export function nthName(layout: Layout, n: number): string {
  const number = String(n).padStart(7, '0')
  return layout === 'flat' ? `file-${number}` : `folder-${number}/`
}

/** A bucket of one layout, and how much is in it. */
export interface Full {
  bucket: string
  /** Names, or folders where there are some. */
  entries: number
}

export interface FullServer extends Strongroom {
  few: Record<Layout, Full>
  many: Record<Layout, Full>
}

/** Starts a server with a small bucket and a large one of each layout. */
export async function startFull(bench: Bench, name: string): Promise<FullServer> {
  const many = bench.objects ?? (bench.quick ? 100_000 : 1_000_000)
  const server = await startStrongroom(bench.folder, name)
  const buckets = fullBuckets(many)
  await withoutIndexes(server, async () => {
    for (const layout of LAYOUTS) {
      bench.say(`filling ${layout} with ${many} objects`)
      await fill(server, layout, buckets.few[layout], FEW)
      await fill(server, layout, buckets.many[layout], many)
    }
  })
  await server.admin`vacuum analyze storage.objects`
  return { ...server, ...buckets }
}

export function fullBuckets(many: number): Pick<FullServer, 'few' | 'many'> {
  return {
    few: { flat: { bucket: 'flat-few', entries: FEW }, folders: { bucket: 'folders-few', entries: FEW } },
    many: {
      flat: { bucket: 'flat-many', entries: many },
      folders: { bucket: 'folders-many', entries: many / 100 },
    },
  }
}

/** Makes the same indexes anew after `work`, which takes much less time than to add to them row by row. */
export async function withoutIndexes({ admin }: Strongroom, work: () => Promise<void>): Promise<void> {
  const indexes = await admin<{ name: string; definition: string }[]>`
    select indexname as name, indexdef as definition from pg_indexes
    where schemaname = 'storage' and tablename = 'objects' and indexname <> 'objects_pkey'`
  for (const { name } of indexes) await admin.unsafe(`drop index storage.${name}`)
  await work()
  await admin`set maintenance_work_mem = '512MB'`
  for (const { definition } of indexes) await admin.unsafe(definition)
}

/** As plain SQL would, but without events: there would be as many. */
async function fill(
  server: Strongroom,
  layout: Layout,
  { bucket, entries }: Full,
  count: number,
): Promise<void> {
  await server.createBucket(bucket, 'authenticated')
  const name = NAMES[layout].replace('{folders}', String(entries))
  await server.admin`set session_replication_role = replica`
  await server.admin.unsafe(
    `insert into storage.objects (bucket_id, name, version, metadata)
     select $1, ${name}, gen_random_uuid(), '{"size": 4096, "mimetype": "text/plain", "eTag": "\\"0\\""}'
     from generate_series(0, $2::int - 1) as n`,
    [bucket, count],
  )
  await server.admin`set session_replication_role = origin`
}

/** One kind of list. */
export interface ListKind {
  name: string
  layout: Layout
  /** So many entries have to come. */
  shows: number
  /** Asks for one. @returns how many it shows */
  ask(full: Full, who: Who): Promise<number>
}

export type Who = 'service_role' | 'under RLS'

/** A row of each kind and for each of both: a list out of very many, against one of a bucket that has no more. */
export async function listRows(bench: Bench, server: FullServer, kinds: ListKind[]): Promise<Row[]> {
  const rows: Row[] = []
  for (const kind of kinds) {
    for (const who of ['service_role', 'under RLS'] as const) {
      const { name, layout, shows } = kind
      const one = (full: Full) => ({ measure: () => medianTime(kind, full, who, bench.quick ? 5 : 15) })
      const many = server.many.flat.entries
      const work = `list ${name}, ${who}: ${shows} of ${many}`
      try {
        const contestants = [one(server.many[layout]), one(server.few[layout])]
        const [ours = [], few = []] = await alternate(contestants, bench.rounds)
        const reference = { name: `of ${FEW}`, figures: few }
        rows.push({ work, unit: 'ms', ours, reference, budget: { atMost: 2 } })
      } catch (error) {
        rows.push({ work, failed: String(error) }) // the other lists are worth knowing all the same
      }
    }
  }
  return rows
}

/** Lists that take longer together are not repeated further. In milliseconds. */
const ENOUGH_MS = 3000

/** Of several lists one after the other, in milliseconds until the last byte of the answer. */
async function medianTime({ ask, shows }: ListKind, full: Full, who: Who, times: number): Promise<number> {
  const taken: number[] = []
  const beganAt = performance.now()
  for (let n = 0; n < times && performance.now() - beganAt < ENOUGH_MS; n++) {
    const startedAt = performance.now()
    const shown = await ask(full, who)
    taken.push(performance.now() - startedAt)
    if (shown !== shows) throw new Error(`${full.bucket} showed ${shown} entries`)
  }
  return median(taken)
}
