import { Agent, request } from 'node:http'
import { json, text } from 'node:stream/consumers'
import type { Bench } from '../family.ts'
import { FEW, type Layout, type ListKind, listRows, startFull } from '../full-buckets.ts'
import type { Row } from '../results.ts'
import type { Strongroom } from '../strongroom.ts'

interface Kind {
  name: string
  version: 'v1' | 'v2'
  layout: Layout
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
  const server = await startFull(bench, 'list')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const kinds = KINDS.map(
    (kind): ListKind => ({
      ...kind,
      shows: FEW,
      ask: ({ bucket }, who) => {
        const token = who === 'service_role' ? server.serviceToken : server.userToken
        return listOnce(agent, server, { ...kind, bucket, token })
      },
    }),
  )
  try {
    return await listRows(bench, server, kinds)
  } finally {
    agent.destroy()
    await server.stop()
  }
}

interface ListCall extends Kind {
  bucket: string
  token: string
}

/** How many entries a list shows. */
async function listOnce(agent: Agent, server: Strongroom, call: ListCall): Promise<number> {
  const { version, delimiter, bucket, token } = call
  const route = version === 'v1' ? 'list' : 'list-v2'
  const body = JSON.stringify({
    prefix: '',
    limit: FEW,
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
