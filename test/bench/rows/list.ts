import { Agent, request } from 'node:http'
import { json, text } from 'node:stream/consumers'
import type { Bench } from '../family.ts'
import type { Row } from '../results.ts'
import { alternate, median } from '../rounds.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'

const SHOWN = 1000

/** How names are laid out: all in one folder, or the first thousand in as many folders. */
const LAYOUTS = {
  flat: `'file-' || to_char(n, 'FM0000000')`,
  // In the large bucket a folder has many files, which a list must not touch.
  folders: `'folder-' || to_char(n % {folders}, 'FM0000000') || '/file-' || n`,
}

interface Kind {
  name: string
  version: 'v1' | 'v2'
  layout: keyof typeof LAYOUTS
  /** Whether folders are shown in place of what is in them. v1 knows nothing else. */
  delimiter: boolean
}

const KINDS: Kind[] = [
  { name: 'v1, flat', version: 'v1', layout: 'flat', delimiter: true },
  { name: 'v1, folders', version: 'v1', layout: 'folders', delimiter: true },
  { name: 'v2, flat', version: 'v2', layout: 'flat', delimiter: true },
  { name: 'v2, folders', version: 'v2', layout: 'folders', delimiter: true },
  { name: 'v2, all names in folders', version: 'v2', layout: 'folders', delimiter: false },
]

/** A list of 1 000 entries out of very many, against one of a bucket that has no more. */
export async function list(bench: Bench): Promise<Row[]> {
  const many = bench.quick ? 100_000 : 1_000_000
  const server = await startStrongroom(bench.folder, 'list')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  try {
    for (const layout of ['flat', 'folders'] as const) {
      bench.say(`filling ${layout} with ${many} objects`)
      await fill(server, `${layout}-few`, layout, SHOWN, SHOWN)
      await fill(server, `${layout}-many`, layout, many, many / 100)
    }
    await server.admin`vacuum analyze storage.objects`

    const rows: Row[] = []
    for (const kind of KINDS) {
      for (const [who, token] of [
        ['service_role', server.serviceToken],
        ['under RLS', server.userToken],
      ] as const) {
        const one = (size: 'few' | 'many') => {
          const call = { ...kind, bucket: `${kind.layout}-${size}`, token }
          return { measure: () => medianTime(agent, server, call, bench.quick ? 5 : 15) }
        }
        const work = `list ${kind.name}, ${who}: ${SHOWN} of ${many}`
        try {
          const [ours = [], few = []] = await alternate([one('many'), one('few')], bench.rounds)
          const reference = { name: `of ${SHOWN}`, figures: few }
          rows.push({ work, unit: 'ms', ours, reference, budget: { atMost: 2 } })
        } catch (error) {
          rows.push({ work, failed: String(error) }) // the other lists are worth knowing all the same
        }
      }
    }
    return rows
  } finally {
    agent.destroy()
    await server.stop()
  }
}

async function fill(
  server: Strongroom,
  bucket: string,
  layout: keyof typeof LAYOUTS,
  count: number,
  folders: number,
): Promise<void> {
  await server.createBucket(bucket, 'authenticated')
  const name = LAYOUTS[layout].replace('{folders}', String(folders))
  await server.admin.unsafe(
    `insert into storage.objects (bucket_id, name, version, metadata)
     select $1, ${name}, gen_random_uuid(), '{"size": 4096, "mimetype": "text/plain", "eTag": "\\"0\\""}'
     from generate_series(0, $2::int - 1) as n`,
    [bucket, count],
  )
}

interface ListCall extends Kind {
  bucket: string
  token: string
}

/** Lists that take longer together are not repeated further. In milliseconds. */
const ENOUGH_MS = 3000

/** Of several lists one after the other, in milliseconds until the last byte of the answer. */
async function medianTime(agent: Agent, server: Strongroom, call: ListCall, times: number): Promise<number> {
  const taken: number[] = []
  const beganAt = performance.now()
  for (let n = 0; n < times && performance.now() - beganAt < ENOUGH_MS; n++) {
    const startedAt = performance.now()
    const shown = await listOnce(agent, server, call)
    taken.push(performance.now() - startedAt)
    if (shown !== SHOWN) throw new Error(`${call.bucket} showed ${shown} entries`)
  }
  return median(taken)
}

/** How many entries a list shows. */
async function listOnce(agent: Agent, server: Strongroom, call: ListCall): Promise<number> {
  const { version, delimiter, bucket, token } = call
  const route = version === 'v1' ? 'list' : 'list-v2'
  const body = JSON.stringify({
    prefix: '',
    limit: SHOWN,
    ...(version === 'v2' && { with_delimiter: delimiter }),
  })
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  }
  const answer = await new Promise<unknown>((resolve, reject) => {
    request(`${server.url}/storage/v1/object/${route}/${bucket}`, { method: 'POST', agent, headers })
      .once('response', (response) => {
        if (response.statusCode !== 200) text(response).then((said) => reject(new Error(said)), reject)
        else json(response).then(resolve, reject)
      })
      .once('error', reject)
      .end(body)
  })
  if (Array.isArray(answer)) return answer.length
  const page = answer as { folders?: unknown[]; objects?: unknown[] }
  return (page.folders?.length ?? 0) + (page.objects?.length ?? 0)
}
