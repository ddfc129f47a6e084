import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { forEachConcurrent } from '../../src/lib/concurrency.ts'
import { mintToken } from '../../src/server/keys.ts'
import { RawClient } from '../http/realtime/clients.ts'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { startTestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { type Attacked, besideInnocent } from './support/innocent.ts'
import { isFull } from './support/size.ts'

/** A process of its own, whose memory is its own. */
let command: Command
let cwd: string
let server: Attacked
let crowd: RawClient[] = []
beforeAll(async () => {
  cwd = await newFolder()
  command = new Command(['serve'], {
    cwd,
    env: {
      STORAGE_PORT: '0',
      STORAGE_FSYNC: 'false',
      STORAGE_MAX_LISTENER_SHARE: '1',
      STORAGE_MAX_UNREAD: '20MB',
    },
  })
  const url = await command.url()
  server = { url, keys: JSON.parse(await readFile(join(cwd, 'storage-data', 'keys.json'), 'utf8')) }
})
afterEach(() => leave())
afterAll(() => removeFolder(cwd, [command]))

function leave(): void {
  for (const { socket } of crowd) socket.terminate()
  crowd = []
}

async function connect(to: Attacked, apikey = to.keys.anonKey): Promise<RawClient> {
  const client = new RawClient(to, { apikey })
  client.socket.on('error', () => {})
  crowd.push(client)
  await client.opened
  return client
}

/** What the server has in memory, in MiB. */
function resident(): number {
  const [, kilobytes] =
    /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${command.child.pid}/status`, 'latin1')) ?? []
  return Number(kilobytes) / 1024
}

/** The most that it has in memory while something is done, beyond what it had before. */
async function growth<T>(work: () => Promise<T>): Promise<{ result: T; megabytes: number }> {
  const before = resident()
  let most = before
  const look = setInterval(() => {
    if (command.isRunning) most = Math.max(most, resident())
  }, 20)
  try {
    return { result: await work(), megabytes: Math.max(most, resident()) - before }
  } finally {
    clearInterval(look)
  }
}

/** Each with twenty channels, and none that reads. */
const CONNECTIONS = isFull ? 100 : 50

const change = (filter: string) => ({ event: '*', schema: 'storage', table: 'objects', filter })

/** As long as a message may be, and no two alike. */
function longest(): object {
  const filters = Array.from({ length: 7 }, () => change(`name=eq.${randomUUID()}${'x'.repeat(8000)}`))
  return { config: { postgres_changes: filters } }
}

/** Each of so many connections joins until it is refused. */
async function joinAll(to: Attacked, connections: number) {
  let joined = 0
  const reasons = new Set<string>()
  await forEachConcurrent(10, Array(connections).fill(0), async () => {
    const client = await connect(to)
    for (let more = true; more; ) {
      const { status, response } = (await client.join(`realtime:${randomUUID()}`, longest())).payload
      client.frames.splice(0) // what the server echoes is not what is measured
      more = status === 'ok'
      if (more) joined++
      else reasons.add(response.reason)
    }
  })
  return { joined, reasons: [...reasons] }
}

it('channels cannot take memory without end, and give back what they took', async () => {
  const { result } = await besideInnocent(server, () => growth(() => joinAll(server, 150)))
  expect(result.result.reasons).toEqual([
    'The channels and tokens of a connection are too large',
    'Too many subscribers are connected; try again soon',
  ])
  // Of the 128 MiB that there are for all, each takes twice its 56 KB of text.
  expect(result.result.joined).toBeGreaterThan(1000)
  expect(result.result.joined).toBeLessThan(1300)
  expect(result.megabytes).toBeLessThan(400)
  leave()
  await until(async () => {
    const { payload } = await (await connect(server)).join('realtime:storage', longest())
    return payload.status === 'ok'
  }, 'there is room again')
}, 120_000)

it('nor can one caller take what there is for the channels of all', async () => {
  const roomy = await startTestServer() // where nobody has more than a tenth
  try {
    const { result } = await besideInnocent(roomy, async () => {
      const { joined, reasons } = await joinAll(roomy, 20)
      const token = await mintToken(roomy.keys.jwtSecret, { role: 'authenticated', subject: 'ann' }, 3600)
      const ann = await connect(roomy, token)
      return { joined, reasons, anns: await ann.join('realtime:storage', longest()) }
    })
    expect(result.reasons).toContain(
      'One caller may not listen so many times; close others first, or try again soon',
    )
    expect(result.joined).toBeLessThan(130)
    expect(result.anns.payload.status).toBe('ok')
  } finally {
    leave()
    await roomy.close()
  }
}, 120_000)

it('an event with much metadata is no gigabytes for those who read nothing', async () => {
  const bucket = `b-${randomUUID()}`
  const headers = { authorization: `Bearer ${server.keys.serviceKey}`, 'content-type': 'application/json' }
  const body = JSON.stringify({ name: bucket, policy: 'public' })
  expect((await fetch(`${server.url}/bucket`, { method: 'POST', headers, body })).status).toBe(201)
  const { result } = await besideInnocent(server, async () => {
    await forEachConcurrent(10, Array(CONNECTIONS).fill(0), async () => {
      const client = await connect(server)
      for (let count = 0; count < 20; count++) {
        const changes = { config: { postgres_changes: [change(`bucket_id=eq.${bucket}`)] } }
        expect((await client.join(`realtime:${randomUUID()}`, changes)).payload.status).toBe('ok')
      }
      client.socket.pause()
    })
    const last = await connect(server)
    await last.join(`realtime:storage:${bucket}`)
    const told = () => last.frames.filter(({ event }) => event === 'broadcast')
    return growth(async () => {
      const metadata = Buffer.from(JSON.stringify({ text: 'x'.repeat(40_000) })).toString('base64')
      for (let count = 0; count < 10; count++) {
        const uploaded = await fetch(`${server.url}/object/${bucket}/${count}.txt`, {
          method: 'POST',
          headers: { ...headers, 'content-type': 'text/plain', 'x-metadata': metadata },
          body: 'x',
        })
        expect(uploaded.status).toBe(201)
      }
      await until(() => told().length === 10, 'who came last is told of all')
    })
  })
  // All channels would have half a gigabyte of the ten events before them or more, a part of it in the kernel.
  expect(result.megabytes).toBeLessThan(250)
  const lines = command.logs.filter(({ reason }) => String(reason).startsWith('too far behind'))
  expect(lines.length).toBeGreaterThan(0)
}, 120_000)
