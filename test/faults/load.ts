import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Served } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { Possibilities } from './possibilities.ts'
import { Random } from './random.ts'
import { isFull } from './size.ts'

/** Names that one client writes to. */
const NAMES = 6

/** A client that was refused asks again so much later, and leaves the processor to what is to come back. In milliseconds. */
const PAUSE_MS = isFull ? 20 : 60

/** The same of one that was served: in reduced size it does not rush, which would keep the processor from the other tests. */
const PACE_MS = isFull ? 0 : 10

/**
 * Clients that upload, overwrite, delete and read all the time, each on names of its own, and keep a log of what
 * they were told. An acknowledged operation leaves one possibility for its name; one that failed adds another.
 */
export class Load {
  readonly possible = new Possibilities()
  /** How many answers there were of each status. */
  readonly statuses = new Map<number, number>()
  /** How many downloads ended before their last byte, as they must when the rest cannot be had. */
  brokenOff = 0
  /** Answers that no client should get, whatever has failed behind the server. */
  readonly strange: string[] = []
  acknowledged = 0
  readonly #randoms: Random[] = []
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()
  /** Answers of success since `mark`. */
  #successes = 0

  constructor(
    private readonly server: Pick<Served, 'request'>,
    private readonly bucket: string,
    readonly seed: number,
  ) {}

  /** Begins, or goes on after `stop`. */
  start(clients: number): void {
    this.#isStopping = false
    this.#running = Promise.all(Array.from({ length: clients }, (_, client) => this.#client(client)))
  }

  /** Ends all clients, once each has its answer. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  /** Waits until writes are answered with success again. */
  async succeeds(count = 10): Promise<void> {
    this.#successes = 0
    await until(() => this.#successes >= count, `uploads succeed again (${this})`)
  }

  /** Waits until so many more requests have been answered with this status. */
  async answers(status: number, count = 5): Promise<void> {
    const before = this.statuses.get(status) ?? 0
    await until(() => (this.statuses.get(status) ?? 0) >= before + count, `the answer is ${status} (${this})`)
  }

  /** The paths whose content is not what was acknowledged. */
  async lost(): Promise<string[]> {
    const lost: string[] = []
    for (const [path, possible] of this.possible) {
      const response = await this.server.request('GET', `/object/${path}`)
      const bytes = new Uint8Array(await response.arrayBuffer())
      const found = response.status === 404 ? null : response.status === 200 ? sha256(bytes) : undefined
      if (found === undefined || !possible.has(found)) lost.push(`${path}: ${response.status}`)
    }
    return lost
  }

  toString(): string {
    return `seed ${this.seed}, answers ${JSON.stringify([...this.statuses])}`
  }

  async #client(client: number): Promise<void> {
    this.#randoms[client] ??= new Random(this.seed + client)
    const random = this.#randoms[client]
    while (!this.#isStopping) {
      const path = `${this.bucket}/${client}-${random.below(NAMES)}`
      const kind = random.below(10)
      if (kind === 0) await this.#delete(path)
      else if (kind <= 2) await this.#read(path)
      else await this.#upload(path, random.bytes(random.below(8) === 0 ? 300_000 : 1 + random.below(5000)))
    }
  }

  async #upload(path: string, body: Buffer): Promise<void> {
    const hash = sha256(body)
    this.possible.may(path, [hash])
    const { status } = await this.#ask('PUT', path, body)
    if (status === 200 || status === 201) this.#succeeded(path, hash)
  }

  async #delete(path: string): Promise<void> {
    const before = this.possible.at(path)
    this.possible.may(path, [null])
    const { status } = await this.#ask('DELETE', path)
    if (status === 204) this.#succeeded(path, null)
    if (status === 404 && !before.has(null)) this.strange.push(`DELETE ${path}: 404, though it was there`)
  }

  async #read(path: string): Promise<void> {
    const answer = await this.#ask('GET', path).catch(() => undefined)
    if (!answer) {
      this.brokenOff++
      return
    }
    const { status, bytes } = answer
    const found = status === 404 ? null : sha256(bytes)
    if ((status === 200 || status === 404) && !this.possible.at(path).has(found)) {
      this.strange.push(`GET ${path}: ${status}, not what was stored`)
    }
  }

  #succeeded(path: string, now: string | null): void {
    this.acknowledged++
    this.#successes++
    this.possible.is(path, [now])
  }

  async #ask(method: string, path: string, body?: Buffer): Promise<{ status: number; bytes: Uint8Array }> {
    const init = body && { body: body as unknown as string }
    const response = await this.server.request(method, `/object/${path}`, init)
    const bytes = new Uint8Array(await response.arrayBuffer())
    const { status } = response
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    const isClear = [200, 201, 204, 404, 503, 507].includes(status)
    const saysWhen = status !== 503 || response.headers.has('retry-after')
    if (!isClear || !saysWhen) this.strange.push(`${method} ${path}: ${status} ${Buffer.from(bytes)}`)
    await delay(status >= 500 ? PAUSE_MS : PACE_MS)
    return { status, bytes }
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
