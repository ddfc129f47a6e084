import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { ServerProcesses } from './server-processes.ts'
import { isFull } from './size.ts'

const ROUNDS = isFull ? 5 : 1
const CLIENTS = 4

let site: ServerProcesses
beforeEach(async () => {
  site = await ServerProcesses.open()
  await site.start()
  await site.request('POST', '/bucket', { body: { name: 'box' } })
})
afterEach(() => site.remove())

/** Uploads of several clients, each one after the other, until they are told to end. */
class Uploads {
  /** Those that were acknowledged, in the order of each client. */
  readonly acknowledged: string[][] = Array.from({ length: CLIENTS }, () => [])
  readonly #running: Promise<void>[]
  #isEnding = false

  constructor(round: number) {
    this.#running = this.acknowledged.map((_, client) => this.#run(round, client))
  }

  async #run(round: number, client: number): Promise<void> {
    for (let n = 0; !this.#isEnding; n++) {
      const name = `${round}-${client}-${String(n).padStart(6, '0')}`
      const answer = await site.request('POST', `/object/box/${name}`, { body: 'x' }).catch(() => null)
      if (answer?.status === 201) this.acknowledged[client]?.push(name)
      await answer?.arrayBuffer().catch(() => {})
    }
  }

  get all(): string[] {
    return this.acknowledged.flat().sort()
  }

  async end(): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#running)
  }
}

/** The names of which the log says that they were uploaded. */
async function told(round: number): Promise<string[]> {
  const rows = await site.database.admin<{ path: string }[]>`
    select path from storage.audit_log
    where action = 'upload' and status = 201 and path like ${`${round}-%`} order by path`
  return rows.map(({ path }) => path)
}

const files = () => readdir(join(site.folder, 'storage-data', 'audit')).catch(() => [])

describe.each(Array.from({ length: ROUNDS }, (_, round) => round))('round %i: the audit log', (round) => {
  it('has, after a kill -9, of each client all that it did before what is the last of it there', async () => {
    const uploads = new Uploads(round)
    await until(async () => (await told(round)).length > CLIENTS * 5, 'some are in the log')
    site.last.signal('SIGKILL')
    await site.last.ended
    await uploads.end()
    const there = new Set(await told(round))
    expect(there.size).toBeGreaterThan(CLIENTS * 5)
    for (const names of uploads.acknowledged) {
      const last = names.findLastIndex((name) => there.has(name))
      expect(names.slice(0, last + 1).filter((name) => !there.has(name))).toEqual([])
    }
    await site.start()
    expect((await site.request('POST', `/object/box/${round}-after`, { body: 'x' })).status).toBe(201)
    await until(async () => (await told(round)).includes(`${round}-after`), 'the next server writes on')
  })

  it('has, after a SIGTERM, all that was acknowledged, each once', async () => {
    const uploads = new Uploads(round)
    await until(() => uploads.acknowledged.every((names) => names.length > 5), 'all have uploaded')
    site.last.signal('SIGTERM')
    expect((await site.last.ended).code).toBe(0)
    await uploads.end()
    const there = await told(round)
    expect(uploads.all.filter((name) => !there.includes(name))).toEqual([])
    expect(new Set(there).size).toBe(there.length)
    expect(await files()).toEqual([])
  })

  it('has all that was acknowledged before and after the database was away, each once', async () => {
    const uploads = new Uploads(round)
    const grow = async () => {
      const before = uploads.all.length
      await until(() => uploads.all.length > before + CLIENTS * 3, 'uploads go on')
    }
    await grow()
    site.proxy.mode = 'refuse'
    site.proxy.cutAll('reset')
    await until(
      () => site.last.logs.some(({ msg }) => String(msg).startsWith('the audit log cannot be written')),
      'the server has tried to write',
    )
    site.proxy.mode = 'pass'
    await grow()
    await uploads.end()
    await until(async () => {
      const there = new Set(await told(round))
      return uploads.all.every((name) => there.has(name))
    }, 'all are in the log')
    const there = await told(round)
    expect(new Set(there).size).toBe(there.length)
  })

  it('has them when the server ends while the database is away, once the next one is there', async () => {
    const uploads = new Uploads(round)
    await until(() => uploads.acknowledged.every((names) => names.length > 5), 'all have uploaded')
    site.proxy.mode = 'refuse'
    site.proxy.cutAll('reset')
    // What was refused since, too, so that there is something that the database has not got.
    await until(
      () => site.last.logs.some(({ msg }) => String(msg).startsWith('the audit log cannot be written')),
      'the server has tried to write',
    )
    await uploads.end()
    site.last.signal('SIGTERM')
    await site.last.ended
    expect((await files()).length).toBeGreaterThan(0)
    site.proxy.mode = 'pass'
    await site.start()
    await until(async () => (await files()).length === 0, 'the file is taken')
    const there = await told(round)
    expect(uploads.all.filter((name) => !there.includes(name))).toEqual([])
    expect(new Set(there).size).toBe(there.length)
  })
})
