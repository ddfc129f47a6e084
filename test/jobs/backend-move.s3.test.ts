import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openBackend } from '../../src/backend/open.ts'
import type { BackendKind } from '../../src/config/config.ts'
import { BackendMove } from '../../src/jobs/backend-move.ts'
import { newSeed, Random } from '../faults/random.ts'
import { isFull } from '../faults/size.ts'
import { cleanUp, repairsOf } from '../support/cleanup.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { IN_FILES, type Served, startTestServer, type TestServer } from '../support/server.ts'

describeWithS3('while objects are moved between a folder and an S3 store', (s3) => {
  let env: Record<string, string>
  let server: TestServer
  let opened: Served[]
  beforeEach(async () => {
    const { STORAGE_BACKEND: _, ...settings } = await s3Env(s3)
    env = { ...IN_FILES, ...settings, STORAGE_S3_PART_SIZE: '5242880' }
    server = await startTestServer(env)
    opened = []
    await server.createBucket('b')
  })
  afterEach(async () => {
    for (const one of opened) await one.close()
    await server.close()
  })

  /** A server with other settings over the same database and folder. */
  async function start(settings: Record<string, string>): Promise<Served> {
    const served = await server.beside(settings)
    opened.push(served)
    return served
  }

  async function move(from: BackendKind, to: BackendKind, during = async () => {}) {
    const source = await openBackend(from, server.config)
    const target = await openBackend(to, server.config)
    const worker = new BackendMove({
      database: server.database,
      source,
      target,
      direction: { source: from, target: to },
      logger: pino({ level: 'silent' }),
    })
    const [report] = await Promise.all([
      worker.run({ parallel: 4, signal: new AbortController().signal }),
      during(),
    ])
    await Promise.all([source.close(), target.close()])
    return report
  }

  it.each<[BackendKind, BackendKind]>([
    ['local', 's3'],
    ['s3', 'local'],
  ])('from %s to %s, clients notice nothing and lose nothing', { timeout: 120_000 }, async (from, to) => {
    const seed = newSeed()
    const random = new Random(seed)
    const before = await start({ STORAGE_BACKEND: from })
    const clients = Array.from(
      { length: 4 },
      (_, i) => new Client(before, `client-${i}`, new Random(seed + i)),
    )
    for (const client of clients) for (let i = 0; i < (isFull ? 15 : 8); i++) await client.upload()
    const large = random.bytes(1_000).toString('hex').repeat(3_000) // two parts
    for (const client of clients) await client.upload('large', large)

    const both = await start({ STORAGE_BACKEND: to, STORAGE_BACKEND_PREVIOUS: from })
    for (const client of clients) client.server = both
    let isMoved = false
    const work = async (client: Client) => {
      for (let i = 0; i < (isFull ? 20 : 12) || !isMoved; i++) await client.step()
    }
    const [report] = await Promise.all([
      move(from, to).finally(() => {
        isMoved = true
      }),
      ...clients.map(work),
    ])
    expect(report, `seed ${seed}`).toMatchObject({ ending: 'complete', failures: { count: 0 } })

    const after = await start({ STORAGE_BACKEND: to })
    for (const client of clients) {
      client.server = after
      await client.checkAll()
    }
    // Leftovers there may be, but nothing that is missing.
    const { unnamedBytes, ...others } = repairsOf(await cleanUp({ ...server, ...after }))
    expect(others, `seed ${seed}; ${unnamedBytes} leftovers`).toEqual({})
    expect(repairsOf(await cleanUp({ ...server, ...after }))).toEqual({})
    for (const client of clients) await client.checkAll()
  })

  it('a server with both backends cleans up both, and takes nothing for lost', async () => {
    await server.request('POST', '/object/b/a.txt', { body: 'a' })
    await server.request('POST', '/object/b/b.txt', { body: 'b' })
    const both = await start({ STORAGE_BACKEND: 's3', STORAGE_BACKEND_PREVIOUS: 'local' })
    await both.request('POST', '/object/b/c.txt', { body: 'c' })
    expect(repairsOf(await cleanUp({ ...server, ...both }))).toEqual({})
    await move('local', 's3')
    expect(repairsOf(await cleanUp({ ...server, ...both }))).toEqual({})
    expect((await both.request('DELETE', '/object/b/a.txt')).ok).toBe(true)
    expect(await server.storedFiles()).toHaveLength(1) // b.txt, in the folder
    expect(repairsOf(await cleanUp({ ...server, ...both }))).toEqual({})
  })

  it('a server that went on writing to the old backend is stopped for a second run', async () => {
    for (let i = 0; i < 20; i++) await server.request('POST', `/object/b/${i}.txt`, { body: `first ${i}` })
    await move('local', 's3', async () => {
      for (let i = 10; i < 30; i++) await server.request('PUT', `/object/b/${i}.txt`, { body: `second ${i}` })
      for (let i = 0; i < 5; i++) await server.request('DELETE', `/object/b/${i}.txt`)
    })
    // From here on it is not asked any more, as if it were stopped.
    expect(await move('local', 's3')).toMatchObject({ ending: 'complete', failures: { count: 0 } })
    const after = await start({ STORAGE_BACKEND: 's3' })
    for (let i = 0; i < 30; i++) {
      const response = await after.request('GET', `/object/b/${i}.txt`)
      const body = i < 5 ? null : i < 10 ? `first ${i}` : `second ${i}`
      expect([response.status, response.ok ? await response.text() : null]).toEqual([body ? 200 : 404, body])
    }
    const { unnamedBytes: _, ...others } = repairsOf(await cleanUp({ ...server, ...after }))
    expect(others).toEqual({})
  })

  it('a data folder that is not there is not taken for an empty one', async () => {
    const settings = { ...env, STORAGE_BACKEND: 's3', STORAGE_BACKEND_PREVIOUS: 'local' }
    await expect(startTestServer(settings)).rejects.toMatchObject({
      code: 'BackendUnavailable',
      message: expect.stringMatching(/^There are no files in /),
    })
  })
})

/** Works on names of its own, so that it knows at each moment what must be there. */
class Client {
  readonly #kept = new Map<string, string>()

  constructor(
    public server: Served,
    readonly name: string,
    readonly random: Random,
  ) {}

  async upload(name = String(this.random.below(25)), body = this.#newBody()): Promise<void> {
    await this.#done('PUT', `/object/b/${this.name}/${name}`, body)
    this.#kept.set(name, body)
  }

  /** Does one thing, and checks one object. */
  async step(): Promise<void> {
    const names = [...this.#kept.keys()]
    const name = names[this.random.below(names.length)]
    const kept = name === undefined ? undefined : this.#kept.get(name)
    const other = `other-${this.random.below(25)}`
    const pair = { bucketId: 'b', sourceKey: `${this.name}/${name}`, destinationKey: `${this.name}/${other}` }
    const what = this.random.pick(['upload', 'delete', 'copy', 'move'])
    if (what === 'upload' || kept === undefined || name === undefined) {
      await this.upload()
    } else if (what === 'delete') {
      await this.#done('DELETE', `/object/b/${this.name}/${name}`)
      this.#kept.delete(name)
    } else if (what === 'copy') {
      await this.#done('POST', '/object/copy', { ...pair, copyMetadata: true }, { 'x-upsert': 'true' })
      this.#kept.set(other, kept)
    } else if (!this.#kept.has(other)) {
      await this.#done('POST', '/object/move', pair)
      this.#kept.delete(name)
      this.#kept.set(other, kept)
    }
    const left = [...this.#kept.keys()]
    const some = left[this.random.below(left.length)]
    if (some !== undefined) await this.#check(some)
  }

  async checkAll(): Promise<void> {
    for (const name of this.#kept.keys()) await this.#check(name)
    const listing = await this.#done('POST', '/object/list/b', { prefix: `${this.name}/`, limit: 1000 })
    const names = (await listing.json()) as { name: string }[]
    expect(names.map(({ name }) => name).sort()).toEqual([...this.#kept.keys()].sort())
  }

  async #check(name: string): Promise<void> {
    const response = await this.#done('GET', `/object/b/${this.name}/${name}`)
    expect(
      (await response.text()) === this.#kept.get(name),
      `${this.name}/${name} is what was uploaded`,
    ).toBe(true)
  }

  async #done(
    method: string,
    path: string,
    body?: string | object,
    headers?: Record<string, string>,
  ): Promise<Response> {
    const response = await this.server.request(method, path, {
      ...(body !== undefined && { body }),
      ...(headers && { headers }),
    })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response
  }

  /** Small ones come as one piece, others as streams. */
  #newBody(): string {
    return `${randomUUID()} `.repeat(1 + this.random.pick([1, 30, 10_000]))
  }
}
