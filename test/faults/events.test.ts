import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { PlacedEventJson } from '../../src/events/event.ts'
import { newWebhookSecret } from '../../src/events/webhooks/signature.ts'
import { type EventReader, openEvents } from '../support/event-stream.ts'
import { hasNats, type NatsServer, startNats } from '../support/nats.ts'
import { until } from '../support/wait.ts'
import { type Receiver, startReceiver } from '../support/webhook-receiver.ts'
import { newSeed, Random } from './random.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'

const ROUNDS = isFull ? 30 : 2
const WRITERS = 4

let servers: ServerProcesses
let receiver: Receiver
let nats: NatsServer | undefined
beforeAll(async () => {
  if (hasNats) nats = await startNats()
  receiver = await startReceiver()
  const hooks = JSON.stringify([{ url: receiver.url, secret: newWebhookSecret(), allow_private: true }])
  servers = await ServerProcesses.open({
    STORAGE_WEBHOOKS: hooks,
    ...(nats && { STORAGE_NATS_URL: `nats://${nats.host}` }),
  })
})
afterAll(async () => {
  await servers?.remove()
  await receiver?.close()
  await nats?.remove()
})

/** What NATS publishes, from now on. */
async function listenToNats(at: NatsServer): Promise<PlacedEventJson[]> {
  const client = await at.client()
  const heard: PlacedEventJson[] = []
  client.subscribe('storage.>', { callback: (_error, message) => void heard.push(message.json()) })
  await client.flush()
  return heard
}

/** Of what may come more than once, each at its first time. */
function once(events: PlacedEventJson[]): PlacedEventJson[] {
  return events.filter(({ id }, index) => events.findIndex((other) => other.id === id) === index)
}

/** A reader that comes back after every loss, and goes on after what it has had. */
class ReturningReader {
  readonly #had: PlacedEventJson[] = []
  #reader: EventReader | undefined
  #isDone = false
  readonly #running = this.#run()

  get events(): PlacedEventJson[] {
    return [...this.#had, ...(this.#reader?.events() ?? [])]
  }

  stop(): Promise<void> {
    this.#isDone = true
    this.#reader?.close()
    return this.#running
  }

  async #run() {
    let lastEventId = '0'
    while (!this.#isDone) {
      const reader = await openEvents(servers, { query: '?bucket=box', lastEventId }).catch(() => null)
      if (reader === null) {
        await delay(20) // as EventSource waits too
        continue
      }
      this.#reader = reader
      await reader.ended
      this.#had.push(...reader.events())
      this.#reader = undefined
      lastEventId = reader.blocks.findLast((block) => block.id !== undefined)?.id ?? lastEventId
    }
  }
}

it(
  `every acknowledged upload is heard of, however often the server is killed (${ROUNDS} times)`,
  async () => {
    const random = new Random(newSeed())
    const acknowledged = new Set<string>()
    let server = await servers.start()
    await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
    const reader = new ReturningReader()
    const messages = nats && (await listenToNats(nats))
    let count = 0
    for (let round = 0; round < ROUNDS; round++) {
      const enough = acknowledged.size + 5 + random.below(60)
      const writers = Array.from({ length: WRITERS }, async () => {
        while (acknowledged.size < enough) {
          const body = `${round} ${count++}`
          const stored = await servers.request('PUT', `/object/box/${count % 5}`, { body }).catch(() => null)
          if (stored?.ok) acknowledged.add(createHash('sha256').update(JSON.stringify(body)).digest('hex'))
        }
        // Those of the other writers are under way.
        server.signal('SIGKILL')
      })
      await Promise.all([server.ended, ...writers])
      server = await servers.start()
    }
    await servers.request('PUT', '/object/box/end', { body: 'end' })
    await until(() => reader.events.some(({ path }) => path === 'end'), 'the last upload is heard of')
    await reader.stop()
    const ofObjects = (events: PlacedEventJson[]) => events.filter(({ path }) => path !== null)
    const heard = ofObjects(reader.events)
    const delivered = () => ofObjects(receiver.taken().map(({ data }) => data as PlacedEventJson))
    const published = () => ofObjects(messages ?? [])
    for (const list of messages ? [delivered, published] : [delivered]) {
      const isAllThere = () => once(list()).length >= heard.length
      await until(isAllThere, `all of it is ${list === delivered ? 'delivered' : 'published'} as well`)
      // Some of it may come twice. For each object it is in order.
      expect(byObject(once(list()))).toEqual(byObject(heard))
    }
    const committed = await servers.database.admin<{ checksum: string }[]>`
    select e.checksum from storage.event_order o join storage.events e on e.id = o.event_id
    where e.name is not null order by o.position`
    expect(heard.map(({ checksum }) => checksum)).toEqual(committed.map(({ checksum }) => checksum))
    const checksums = new Set(heard.map(({ checksum }) => checksum))
    expect([...acknowledged].filter((checksum) => !checksums.has(checksum))).toEqual([])
    // Of each object the last event is the object as it is.
    const rows = await servers.database.admin`select name, checksum from storage.objects`
    const last = Object.entries(byObject(heard)).map(([path, checksums]) => [path, checksums.at(-1)])
    expect(Object.fromEntries(last)).toEqual(Object.fromEntries(rows.map((row) => [row.name, row.checksum])))
  },
  ROUNDS * 120_000,
)

/** The checksums that each object has had, in order. */
function byObject(events: PlacedEventJson[]): Record<string, (string | null)[]> {
  const found: Record<string, (string | null)[]> = {}
  for (const { path, checksum } of events) {
    const list = found[path ?? ''] ?? []
    found[path ?? ''] = list
    list.push(checksum)
  }
  return found
}
