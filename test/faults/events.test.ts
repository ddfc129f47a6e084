import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EventJson } from '../../src/events/event.ts'
import { type EventReader, openEvents } from '../support/event-stream.ts'
import { until } from '../support/wait.ts'
import { newSeed, Random } from './random.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'

const ROUNDS = isFull ? 30 : 3
const WRITERS = 4

let servers: ServerProcesses
beforeAll(async () => {
  servers = await ServerProcesses.open()
})
afterAll(() => servers?.remove())

/** A reader that comes back after every loss, and goes on after what it has had. */
class ReturningReader {
  readonly #had: EventJson[] = []
  #reader: EventReader | undefined
  #isDone = false
  readonly #running = this.#run()

  get events(): EventJson[] {
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
      if (reader === null) continue
      this.#reader = reader
      await reader.ended
      this.#had.push(...reader.events())
      this.#reader = undefined
      lastEventId = reader.blocks.findLast((block) => block.id !== undefined)?.id ?? lastEventId
    }
  }
}

it(`every acknowledged upload is heard of, however often the server is killed (${ROUNDS} times)`, async () => {
  const random = new Random(newSeed())
  const acknowledged = new Set<string>()
  let server = await servers.start()
  await servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
  const reader = new ReturningReader()
  let count = 0
  for (let round = 0; round < ROUNDS; round++) {
    let isOver = false
    const writers = Array.from({ length: WRITERS }, async () => {
      while (!isOver) {
        const body = `${round} ${count++}`
        const stored = await servers.request('PUT', `/object/box/${count % 5}`, { body }).catch(() => null)
        if (stored?.ok) acknowledged.add(createHash('sha256').update(JSON.stringify(body)).digest('hex'))
      }
    })
    const enough = acknowledged.size + 5 + random.below(60)
    await until(() => acknowledged.size >= enough, 'some uploads are acknowledged')
    server.signal('SIGKILL')
    isOver = true
    await Promise.all([server.ended, ...writers])
    server = await servers.start()
  }
  await servers.request('PUT', '/object/box/end', { body: 'end' })
  await until(() => reader.events.some(({ path }) => path === 'end'), 'the last upload is heard of')
  await reader.stop()

  const heard = reader.events.filter(({ path }) => path !== null)
  const committed = await servers.database.admin<{ checksum: string }[]>`
    select e.checksum from storage.event_order o join storage.events e on e.id = o.event_id
    where e.name is not null order by o.position`
  expect(heard.map(({ checksum }) => checksum)).toEqual(committed.map(({ checksum }) => checksum))
  const checksums = new Set(heard.map(({ checksum }) => checksum))
  expect([...acknowledged].filter((checksum) => !checksums.has(checksum))).toEqual([])
  // Of each object the last event is the object as it is.
  const rows = await servers.database.admin`select name, checksum from storage.objects`
  const last = new Map(heard.map(({ path, checksum }) => [path, checksum]))
  expect(Object.fromEntries(last)).toEqual(Object.fromEntries(rows.map((row) => [row.name, row.checksum])))
})
