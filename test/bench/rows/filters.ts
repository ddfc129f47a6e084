import { Agent, request } from 'node:http'
import { json, text } from 'node:stream/consumers'
import type { Bench } from '../family.ts'
import { withoutIndexes } from '../full-buckets.ts'
import type { Row } from '../results.ts'
import { alternate, median } from '../rounds.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'

const BUCKET = 'filtered'
/** How many are looked for, which one page shows. */
const WANTED = 1000
/** In milliseconds. */
const BUDGET = { atMost: 50 } as const

type Body = Record<string, unknown>

const NEWEST = { column: 'created_at', order: 'desc' }

/** With what finds each of those that are looked for, and nothing else. */
const SELECTIVE: [name: string, body: Body][] = [
  ['owner_id', { filter: { owner_id: 'needle' } }],
  ['organization_id, newest first', { filter: { organization_id: 'needle' }, sortBy: NEWEST }],
  ['access_level', { filter: { access_level: 'shared' } }],
  ['content_type', { filter: { content_type: 'image/*' } }],
  ['asset_type', { filter: { asset_type: 'map' } }],
  ['tags', { filter: { tags: ['needle', 'hay'] } }],
  ['any_tags', { filter: { any_tags: ['needle', 'nowhere'] } }],
  ['metadata', { filter: { metadata: { case: 'needle' } } }],
  ['min_size', { filter: { min_size: 20 * 1024 * 1024 } }],
  ['tags and search', { filter: { tags: ['needle'], search: 'FILE' }, sortBy: NEWEST }],
]

/** What no index finds: how long a page takes that looks at all that one may, and shows what it shows. */
const UNSELECTIVE: [name: string, body: Body][] = [
  ['search', { filter: { search: 'nowhere' } }],
  ['max_size', { filter: { max_size: 1 } }],
  ['a tag of all', { filter: { tags: ['hay'] } }],
  ['metadata of all', { filter: { metadata: { kind: 'hay' } } }],
]

/** Pages of 1 000 out of very many. */
export async function filters(bench: Bench): Promise<Row[]> {
  const many = bench.objects ?? (bench.quick ? 100_000 : 1_000_000)
  const server = await startStrongroom(bench.folder, 'filters')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  try {
    bench.say(`filling a bucket with ${many} objects`)
    await withoutIndexes(server, () => fill(server, many))
    await server.admin`vacuum analyze storage.objects`
    const rows: Row[] = []
    const measured = async (name: string, shown: number | undefined, body: Body, token: string) => {
      const measure = () => medianTime(agent, server, { body, token, shown }, bench.quick ? 5 : 15)
      const [ours = []] = await alternate([{ measure }], bench.rounds)
      return { work: `list with ${name}`, unit: 'ms' as const, ours }
    }
    for (const [name, body] of SELECTIVE) {
      const row = await measured(
        `${name}: ${WANTED} of ${many}`,
        Math.min(WANTED, many / 1000),
        body,
        server.userToken,
      )
      rows.push({ ...row, budget: BUDGET })
    }
    for (const [name, body] of UNSELECTIVE) {
      rows.push(await measured(`${name}, a page`, undefined, body, server.userToken))
    }
    return rows
  } finally {
    agent.destroy()
    await server.stop()
  }
}

/** As plain SQL would, but without events: there would be as many. One of a thousand is looked for. */
async function fill(server: Strongroom, count: number): Promise<void> {
  await server.createBucket(BUCKET, 'authenticated')
  await server.admin`set session_replication_role = replica`
  await server.admin.unsafe(
    `insert into storage.objects (
       bucket_id, name, version, owner_id, organization_id, access_level, asset_type, tags, user_metadata, created_at, updated_at, metadata)
     select $1, 'file-' || md5(n::text), gen_random_uuid(), case when is_one then 'needle' else 'owner-' || n % 1000 end,
       case when is_one then 'needle' else 'org-' || n % 100 end, case when is_one then 'shared' else 'private' end,
       case when is_one then 'map' end, case when is_one then '{needle,hay}' else '{hay}' end::text[],
       jsonb_build_object('case', case when is_one then 'needle' else n::text end, 'kind', 'hay'),
       now() - n * interval '1 second', now() - n * interval '1 second',
       jsonb_build_object('size', case when is_one then 33554432 else 4096 end, 'eTag', '"0"',
         'mimetype', case when is_one then 'image/png' else 'text/plain' end)
     from (select n, n % 1000 = 0 as is_one from generate_series(0, $2::int - 1) n) rows`,
    [BUCKET, count],
  )
  await server.admin`set session_replication_role = origin`
}

interface Call {
  body: Body
  token: string
  /** So many have to come; undefined: any number. */
  shown: number | undefined
}

/** Of several pages one after the other, in milliseconds until the last byte of the answer. */
async function medianTime(agent: Agent, server: Strongroom, call: Call, times: number): Promise<number> {
  const taken: number[] = []
  for (let n = 0; n < times; n++) {
    const startedAt = performance.now()
    const shown = await pageOnce(agent, server, call)
    taken.push(performance.now() - startedAt)
    if (call.shown !== undefined && shown !== call.shown)
      throw new Error(`${JSON.stringify(call.body)} showed ${shown} entries`)
  }
  return median(taken)
}

/** How many entries a page shows. */
async function pageOnce(agent: Agent, server: Strongroom, { body, token }: Call): Promise<number> {
  const sent = JSON.stringify({ limit: WANTED, ...body })
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(sent),
  }
  const answer = await new Promise<unknown>((resolve, reject) => {
    request(`${server.url}/storage/v1/object/list-v2/${BUCKET}`, { method: 'POST', agent, headers })
      .once('response', (response) => {
        if (response.statusCode !== 200) text(response).then((said) => reject(new Error(said)), reject)
        else json(response).then(resolve, reject)
      })
      .once('error', reject)
      .end(sent)
  })
  return (answer as { objects: unknown[] }).objects.length
}
