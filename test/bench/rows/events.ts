import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'
import { type Bench, smallSeconds } from '../family.ts'
import { FOR_EVER, requestsPerSecond } from '../load.ts'
import { startReference } from '../processes.ts'
import type { Row } from '../results.ts'
import { alternate } from '../rounds.ts'
import { type Strongroom, startStrongroom } from '../strongroom.ts'

const SIZE = 4096
const LISTENERS = 1000

/** How long after the upload's answer a listener hears of it, and what listeners cost the uploads. */
export async function events(bench: Bench): Promise<Row[]> {
  const server = await startStrongroom(bench.folder, 'events')
  try {
    await server.createBucket('bench', 'authenticated')
    return [
      ...(await delays(bench, server, 'server-sent events', hearByStream)),
      ...(await delays(bench, server, 'WebSocket', hearBySocket)),
      await uploadsBeside(bench, server, 'who hear all', '/storage/v1/events?bucket=bench'),
      await uploadsBeside(bench, server, 'who hear none', '/storage/v1/events?bucket=bench&prefix=nobody/'),
    ]
  } finally {
    await server.stop()
  }
}

/** Calls `onPath` with the path of every event that comes. Returns what ends it. */
type Hear = (server: Strongroom, onPath: (path: string) => void) => Promise<() => void>

/** One upload after the other, and one listener. */
async function delays(bench: Bench, server: Strongroom, by: string, hear: Hear): Promise<Row[]> {
  const heardAt = new Map<string, number>()
  let onNews = () => {}
  const leave = await hear(server, (path) => {
    heardAt.set(path, performance.now())
    onNews()
  })
  const body = new Uint8Array(SIZE)
  const ms: number[] = []
  const uploads = bench.quick ? 100 : 500
  for (let n = 0; n < uploads; n++) {
    const path = `${by}/${n}`
    await server.upload(`bench/${path}`, body)
    const answeredAt = performance.now()
    while (!heardAt.has(path)) {
      await new Promise<void>((resolve) => {
        onNews = resolve
      })
    }
    ms.push(Math.max(0, (heardAt.get(path) ?? 0) - answeredAt))
  }
  leave()
  ms.sort((a, b) => a - b)
  const at = (share: number) => ms[Math.ceil(share * ms.length) - 1] ?? Number.NaN
  const work = `from an upload's answer to its listener by ${by}`
  return [
    { work: `${work}, p50`, unit: 'ms', ours: [at(0.5)], budget: { atMost: 50 } },
    { work: `${work}, p99`, unit: 'ms', ours: [at(0.99)], budget: { atMost: 200 } },
  ]
}

async function hearByStream(server: Strongroom, onPath: (path: string) => void): Promise<() => void> {
  const asking = get(`${server.url}/storage/v1/events?bucket=bench`, {
    agent: false,
    headers: { authorization: `Bearer ${server.serviceToken}` },
  })
  const [response] = (await once(asking, 'response')) as [IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`GET /events: ${response.statusCode}`)
  createInterface(response).on('line', (line) => {
    if (line.startsWith('data: ')) onPath(JSON.parse(line.slice('data: '.length)).path)
  })
  return () => response.destroy()
}

/** As supabase-js does, with the older serializer (wire §10). */
async function hearBySocket(server: Strongroom, onPath: (path: string) => void): Promise<() => void> {
  const { url, serviceToken } = server
  const socket = new WebSocket(
    `${url.replace('http', 'ws')}/realtime/v1/websocket?apikey=${serviceToken}&vsn=1.0.0`,
  )
  await once(socket, 'open')
  const joined = once(socket, 'message')
  socket.send(
    JSON.stringify({ topic: 'realtime:storage', event: 'phx_join', payload: {}, ref: '1', join_ref: '1' }),
  )
  const [reply] = await joined
  if (JSON.parse(String(reply)).payload?.status !== 'ok') throw new Error(`phx_join: ${reply}`)
  socket.on('message', (text) => {
    const { event, payload } = JSON.parse(String(text))
    if (event === 'broadcast') onPath(payload.payload.path)
  })
  return () => socket.terminate()
}

/** Uploads with an audience against uploads without one. */
async function uploadsBeside(bench: Bench, server: Strongroom, who: string, path: string): Promise<Row> {
  const audience = await startReference('listeners', { url: server.url, path, token: server.serviceToken })
  const headers = { authorization: `Bearer ${server.userToken}`, 'content-type': 'text/plain' }
  const body = 'x'.repeat(SIZE)
  const rate = (round: string) => {
    const url = `${server.url}/storage/v1/object/bench/${encodeURIComponent(who)}/${round}/`
    return requestsPerSecond(
      {
        ...{ url, method: 'POST', headers, body, numberedTo: FOR_EVER },
        lasts: { seconds: smallSeconds(bench) },
      },
      bench.folder,
    )
  }
  const [ours = [], alone = []] = await alternate(
    [
      {
        measure: async (round) => {
          await audience.ask({ count: LISTENERS })
          const perSecond = await rate(`heard${round}`)
          const { bytes, dropped } = await audience.ask<{ bytes: number; dropped: number }>({ count: 0 })
          bench.say(`${who}: ${Math.round(bytes / LISTENERS / 1024)} KiB each; ${dropped} were dropped`)
          return perSecond
        },
      },
      { measure: (round) => rate(`alone${round}`) },
    ],
    bench.rounds,
  )
  await audience.stop()
  return {
    work: `4 KiB upload beside ${LISTENERS} listeners ${who}`,
    unit: '/s',
    ours,
    reference: { name: 'without listeners', figures: alone },
    budget: { atLeast: 0.8 },
  }
}
