import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { type S3Keys, signRequest, UNSIGNED } from '../../support/s3-signer.ts'
import type { Bench } from '../family.ts'
import {
  FEW,
  type Full,
  type FullServer,
  LAYOUTS,
  type Layout,
  type ListKind,
  listRows,
  nthName,
  startFull,
  type Who,
} from '../full-buckets.ts'
import type { Row } from '../results.ts'
import { readKeysOf } from '../strongroom.ts'

/** Of a page that does not begin with the first entry: the small bucket has half a list more then. */
const DEEP = 400

interface Kind {
  name: string
  layout: Layout
  shows: number
  /** What is asked for, when `after` is an entry in the middle and `token` leads behind it. */
  query(after: string, token: string): Record<string, string>
}

const V2 = { 'list-type': '2' }
const KINDS: Kind[] = [
  { name: 'flat', layout: 'flat', shows: FEW, query: () => V2 },
  { name: 'all names in folders', layout: 'folders', shows: FEW, query: () => V2 },
  { name: 'folders', layout: 'folders', shows: FEW, query: () => ({ ...V2, delimiter: '/' }) },
  {
    name: 'prefix',
    layout: 'flat',
    shows: 100,
    query: () => ({ ...V2, prefix: nthName('flat', 500).slice(0, -2) }),
  },
  {
    name: 'flat by token',
    layout: 'flat',
    shows: DEEP,
    query: (_, token) => ({ ...V2, 'max-keys': String(DEEP), 'continuation-token': token }),
  },
  {
    name: 'all names in folders by start-after',
    layout: 'folders',
    shows: DEEP,
    query: (after) => ({ ...V2, 'max-keys': String(DEEP), 'start-after': after }),
  },
  {
    name: 'folders by token',
    layout: 'folders',
    shows: DEEP,
    query: (_, token) => ({ ...V2, delimiter: '/', 'max-keys': String(DEEP), 'continuation-token': token }),
  },
  {
    name: 'v1, flat by marker',
    layout: 'flat',
    shows: DEEP,
    query: (marker) => ({ 'max-keys': String(DEEP), marker }),
  },
]

/** Pages of lists by S3 out of very many names, the first and one from the middle, against those of a thousand. */
export async function listS3(bench: Bench): Promise<Row[]> {
  const server = await startFull(bench, 'list-s3')
  try {
    return await listRowsByS3(bench, server)
  } finally {
    await server.stop()
  }
}

export async function listRowsByS3(bench: Bench, server: FullServer): Promise<Row[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const { s3: pair, anonKey } = await readKeysOf(server.dataDir)
  const keys: Record<Who, S3Keys> = {
    service_role: pair,
    'under RLS': { accessKeyId: 'bench', secretAccessKey: anonKey, sessionToken: server.userToken },
  }
  const ask = (bucket: string, query: Record<string, string>, who: Who) =>
    listOnce(agent, `${server.url}/storage/v1/s3/${bucket}?${new URLSearchParams(query)}`, keys[who])
  const middleOf = async ({ bucket, entries }: Full, layout: Layout) => {
    const after = nthName(layout, Math.floor(entries / 2) - 1)
    const delimiter = layout === 'folders' ? { delimiter: '/' } : {}
    const page = { ...V2, ...delimiter, 'max-keys': '1', 'start-after': after }
    const answer = await ask(bucket, page, 'service_role')
    return { after, token: /<NextContinuationToken>(.+)<\/NextContinuationToken>/.exec(answer)?.[1] ?? '' }
  }
  try {
    const middles = new Map<string, { after: string; token: string }>()
    for (const size of [server.few, server.many]) {
      for (const layout of LAYOUTS) middles.set(size[layout].bucket, await middleOf(size[layout], layout))
    }
    const kinds = KINDS.map(
      ({ query, ...kind }): ListKind => ({
        ...kind,
        name: `S3, ${kind.name}`,
        ask: async ({ bucket }, who) => {
          const { after = '', token = '' } = middles.get(bucket) ?? {}
          const answer = await ask(bucket, query(after, token), who)
          return answer.split(/<Contents>|<CommonPrefixes>/).length - 1
        },
      }),
    )
    return await listRows(bench, server, kinds)
  } finally {
    agent.destroy()
  }
}

function listOnce(agent: Agent, url: string, keys: S3Keys): Promise<string> {
  const headers = signRequest({ method: 'GET', url, payload: UNSIGNED }, keys)
  return new Promise((resolve, reject) => {
    request(url, { agent, headers })
      .once('response', (response) => {
        text(response).then((said) => {
          if (response.statusCode === 200) resolve(said)
          else reject(new Error(said))
        }, reject)
      })
      .once('error', reject)
      .end()
  })
}
