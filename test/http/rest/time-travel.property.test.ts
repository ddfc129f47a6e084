import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTestServer, type TestServer } from '../../support/server.ts'

/*
 * Random histories of several writers, and what is said of their moments later. The model of a moment is what there was then: when
 * every operation before it was acknowledged, and none after it begun, plain reads have told. In the middle of operations it is what
 * they may have left.
 *
 * FAULTS=full has many more of them. FAULTS_SEED repeats one.
 */

const HISTORIES = process.env.FAULTS === 'full' ? 70 : 2
const SEED = Number(process.env.FAULTS_SEED ?? Date.now() % 1_000_000)
const BURSTS = 6
const WRITERS = 3
const NAMES = ['w/a', 'w/b', 'w/d/a', 'w/d/b', 'w/é']

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())

type Contents = Record<string, string>

interface Moment {
  at: string
  then: Contents
}

/** In the middle of operations: what each name may have had; undefined is nothing. */
interface Blurred {
  at: string
  may: Map<string, (string | undefined)[]>
}

interface Report {
  restored: number
  deleted: number
  unchanged: number
  unavailable: number
  sample: { name: string; outcome: string; reason: string | null }[]
  next: string | null
}

function randomOf(seed: number) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (n: number) => Math.floor(next() * n)
  return { below, of: <T>(items: readonly T[]): T => items[below(items.length)] as T }
}

class History {
  readonly bucket = `b-${randomUUID()}`
  readonly random
  readonly moments: Moment[] = []
  readonly blurred: Blurred[] = []
  #made = 0

  constructor(
    seed: number,
    private readonly settings: string,
  ) {
    this.random = randomOf(seed)
  }

  async begin(): Promise<void> {
    await server.createBucket(this.bucket)
    await server.admin.unsafe(`update storage.buckets set ${this.settings} where id = '${this.bucket}'`)
    await this.#note()
    for (let burst = 0; burst < BURSTS; burst++) {
      const before = this.moments.at(-1)?.then ?? {}
      const may = new Map(NAMES.map((name) => [name, [before[name]]]))
      const writing = Promise.all(Array.from({ length: WRITERS }, () => this.#write(may)))
      const at = await momentOf(false)
      await writing
      this.blurred.push({ at, may })
      await this.#note()
    }
  }

  async #note(): Promise<void> {
    const then = await this.contents('w/')
    this.moments.push({ at: await momentOf(true), then })
  }

  /** One writer's turn: a few operations, each after the other. */
  async #write(may: Blurred['may']): Promise<void> {
    for (let turn = 0; turn <= this.random.below(3); turn++) {
      const [name, other] = [this.random.of(NAMES), this.random.of(NAMES)]
      switch (this.random.below(7)) {
        case 0:
          may.get(name)?.push(undefined)
          await this.send('DELETE', `/object/${this.bucket}/${encodeURI(name)}`)
          break
        case 1: {
          // Whatever the source has by now, the target may have.
          if (name === other) break
          may.get(name)?.push(undefined)
          may.get(other)?.push('*')
          const body = { bucketId: this.bucket, sourceKey: name, destinationKey: other }
          await this.send('POST', '/object/move', { body })
          break
        }
        case 2: {
          may.get(name)?.push('*')
          const answer = await this.send('GET', `/versions/${this.bucket}/${encodeURI(name)}`)
          if (!answer.ok) break
          const { items } = (await answer.json()) as { items: { version_id: string }[] }
          const version_id = this.random.of(items)?.version_id
          await this.send('POST', '/versions/restore', {
            body: { bucket: this.bucket, path: name, version_id },
          })
          break
        }
        case 3: {
          // Where versions are kept there is nothing in it.
          may.get(name)?.push('*')
          const overwrite = this.random.below(2) === 0
          await this.send('POST', '/trash/restore', { body: { bucket: this.bucket, path: name, overwrite } })
          break
        }
        default: {
          const body = `${++this.#made}:${'x'.repeat(this.random.below(3) === 0 ? 40_000 : 10)}`
          may.get(name)?.push(body)
          await this.send('PUT', `/object/${this.bucket}/${encodeURI(name)}`, { body })
        }
      }
    }
  }

  /** Refusals are part of it: there is nothing to delete, or the name is taken. */
  async send(method: string, path: string, init?: Parameters<TestServer['request']>[2]): Promise<Response> {
    const answer = await server.request(method, `/storage/v1${path}`, init)
    expect(answer.status, `${method} ${path}`).toBeLessThan(500)
    return answer
  }

  /** What there is below a prefix, or was, by lists and reads. */
  async contents(prefix: string, at?: string): Promise<Contents> {
    const found: Contents = {}
    let cursor: string | undefined
    do {
      const answer = await this.send('POST', `/object/list-v2/${this.bucket}`, {
        body: { prefix, limit: 1 + this.random.below(4), cursor, at },
      })
      const page = (await answer.json()) as { objects: { name: string }[]; nextCursor?: string }
      for (const { name } of page.objects) {
        const read = await this.read(name, at)
        expect(read.status, `${name} is listed`).toBe(200)
        found[name] = await read.text()
      }
      cursor = page.nextCursor
    } while (cursor !== undefined)
    return found
  }

  read(name: string, at?: string): Promise<Response> {
    const query = at === undefined ? '' : `?at=${encodeURIComponent(at)}`
    return this.send('GET', `/object/${this.bucket}/${encodeURI(name)}${query}`)
  }

  /** Restores page by page. */
  async restore(body: Record<string, unknown>): Promise<Report> {
    const total: Report = { restored: 0, deleted: 0, unchanged: 0, unavailable: 0, sample: [], next: null }
    do {
      const answer = await this.send('POST', '/versions/restore', {
        body: { bucket: this.bucket, limit: 1 + this.random.below(4), cursor: total.next, ...body },
      })
      const text = await answer.text()
      expect(answer.status, text).toBe(200)
      const report = JSON.parse(text) as Report
      for (const key of ['restored', 'deleted', 'unchanged', 'unavailable'] as const)
        total[key] += report[key]
      total.sample.push(...report.sample)
      total.next = report.next
    } while (total.next !== null)
    return total
  }
}

/** Of whole milliseconds. @param isApart whether nothing that is done now is in the same one */
async function momentOf(isApart: boolean): Promise<string> {
  const gap = isApart ? 0.003 : 0
  const [row] = await server.admin`
    select pg_sleep(${gap}), to_char(date_trunc('milliseconds', clock_timestamp()) at time zone 'UTC',
      'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at`
  if (isApart) await server.admin`select pg_sleep(${gap})`
  return String(row?.at)
}

const below = (prefix: string, contents: Contents): Contents =>
  Object.fromEntries(Object.entries(contents).filter(([name]) => name.startsWith(prefix)))

const seeds = Array.from({ length: HISTORIES }, (_, index) => SEED + index)

describe.each(seeds)(`a history of several writers, FAULTS_SEED=%i`, (seed) => {
  it('is told exactly, and comes back exactly, by versions', { timeout: 600_000 }, async () => {
    const history = new History(seed, `versioning_status = 'ENABLED', max_versions = 1000`)
    await history.begin()
    for (const { at, then } of history.moments) {
      expect(await history.contents('w/', at), at).toEqual(then)
      for (const name of NAMES.filter((one) => !(one in then))) {
        expect((await history.read(name, at)).status, `${name} at ${at}`).toBe(404)
      }
    }
    for (const { at, may } of history.blurred) {
      const told = await history.contents('w/', at)
      for (const [name, possible] of may) {
        if (!possible.includes('*')) expect(possible, `${name} at ${at}`).toContain(told[name])
      }
    }

    const elsewhere = history.random.of(history.moments)
    await history.restore({ prefix: 'w/', to: 'copy/', at: elsewhere.at })
    const copies = Object.entries(elsewhere.then).map(([name, text]) => [name.replace('w/', 'copy/'), text])
    expect(await history.contents('copy/'), elsewhere.at).toEqual(Object.fromEntries(copies))

    for (let times = 0; times < 3; times++) {
      const { at, then } = history.random.of(history.moments)
      const prefix = history.random.of(['w/', 'w/d/', 'w/é'])
      const before = await history.contents('w/')
      const planned = await history.restore({ prefix, at, dry_run: true })
      expect(await history.contents('w/')).toEqual(before)
      const done = await history.restore({ prefix, at })
      expect(done).toEqual(planned)
      expect(done.unavailable).toBe(0)
      const rest = Object.entries(before).filter(([name]) => !name.startsWith(prefix))
      expect(await history.contents('w/'), `${prefix} at ${at}`).toEqual({
        ...Object.fromEntries(rest),
        ...below(prefix, then),
      })
      expect(await history.restore({ prefix, at })).toMatchObject({ restored: 0, deleted: 0, unavailable: 0 })
    }
    // What the restores themselves have done is history, too.
    for (const { at, then } of history.moments) expect(await history.contents('w/', at), at).toEqual(then)
  })

  it.each([
    ['few versions', `versioning_status = 'ENABLED', max_versions = 2`],
    ['a trash alone', 'trash_days = 7'],
  ])('is never told wrongly, and what is gone is said, by %s', { timeout: 600_000 }, async (_, settings) => {
    const history = new History(seed, settings)
    await history.begin()
    const { at, then } = history.random.of(history.moments)
    for (const [name, text] of Object.entries(await history.contents('w/', at))) {
      expect(then[name], `${name} at ${at}`).toBe(text)
    }
    const before = await history.contents('w/')
    const done = await history.restore({ prefix: 'w/', at })
    const after = await history.contents('w/')
    const unavailable = new Set(
      done.sample.filter(({ outcome }) => outcome === 'unavailable').map(({ name }) => name),
    )
    expect(unavailable.size).toBe(done.unavailable)
    for (const name of NAMES) {
      const what = `${name} at ${at}`
      if (unavailable.has(name)) expect(after[name], what).toBe(before[name])
      // A trash knows nothing of what was moved away.
      else if (after[name] !== undefined || settings.includes('ENABLED'))
        expect(after[name], what).toBe(then[name])
    }
    expect(await history.restore({ prefix: 'w/', at })).toMatchObject({ restored: 0, deleted: 0 })
  })
})
