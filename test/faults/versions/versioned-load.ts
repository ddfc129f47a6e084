import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { PATIENCE_MS, until } from '../../support/wait.ts'
import { Random } from '../random.ts'
import { isFull } from '../size.ts'
import { deleted, type Entry, type History, type Keeping, removed, told, uploaded } from './history.ts'

/** Names that one client writes to in each bucket. */
const NAMES = 3
/** A client that was refused asks again so much later, and one that was served, in milliseconds; as `Load` has them. */
const PAUSE_MS = isFull ? 20 : 60
const PACE_MS = isFull ? 0 : 10

/** Where the server is now, which may be another one than before. */
export interface Place {
  /** With `/storage/v1`. */
  url: string
  token: string
}

export interface VersionedLoadOptions {
  place: () => Place
  /** By the ids of their buckets. */
  keeping: ReadonlyMap<string, Keeping>
  seed: number
  /** Says of what is in the trash of a name that its time is up. Without it nothing is. */
  expire?: (bucket: string, name: string) => Promise<void>
}

/**
 * Clients that upload, overwrite, delete, delete one version and bring one back, each on names of its own, and keep the history of
 * each name as they were told it. Who has had no answer leaves the name alone from then on: it has one history or the other.
 */
export class VersionedLoad {
  acknowledged = 0
  /** Answers that no client should get, whatever has failed. */
  readonly strange: string[] = []
  /** What each name may be now, by its path. */
  readonly #possible = new Map<string, History[]>()
  #seen: Map<string, Set<string>> | undefined
  readonly #clients: Client[] = []
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(private readonly options: VersionedLoadOptions) {}

  /** Begins, or goes on after `stop`. */
  start(clients: number): void {
    this.#isStopping = false
    for (let client = this.#clients.length; client < clients; client++) {
      this.#clients.push(new Client(client, new Random(this.options.seed + client)))
    }
    this.#running = Promise.all(this.#clients.map((client) => this.#run(client)))
  }

  /** Ends all clients, once each has its answer. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  /** Waits until so many more operations have succeeded. */
  async succeeds(count = 10): Promise<void> {
    const enough = this.acknowledged + count
    await until(() => this.acknowledged >= enough, `operations succeed (${this})`)
  }

  /** What each name may be now, by its path. */
  get possible(): ReadonlyMap<string, readonly History[]> {
    return this.#possible
  }

  /**
   * For whoever looks at all names at one moment between now and the call of the function that this returns: what each may be
   * then, as `told` has it.
   */
  watch(): () => Map<string, Set<string>> {
    const seen = new Map([...this.#possible].map(([path, all]) => [path, new Set(all.map(told))]))
    this.#seen = seen
    return () => {
      this.#seen = undefined
      return seen
    }
  }

  toString(): string {
    return `seed ${this.options.seed}, ${this.acknowledged} operations acknowledged`
  }

  async #run(client: Client): Promise<void> {
    const buckets = [...this.options.keeping.keys()] as [string, ...string[]]
    while (!this.#isStopping) {
      const bucket = client.random.pick(buckets)
      const index = client.random.below(NAMES)
      const name = client.name(bucket, index)
      const isDone = await this.#operate(client.random, bucket, name)
      if (!isDone) {
        client.leave(bucket, index)
        await this.#isBack()
      }
      await delay(isDone ? PACE_MS : PAUSE_MS)
    }
  }

  /** Returns whether it was answered. */
  async #operate(random: Random, bucket: string, name: string): Promise<boolean> {
    const keeping = this.options.keeping.get(bucket) as Keeping // the name is in one of them
    const path = `${bucket}/${name}`
    const history = this.#possible.get(path)?.[0] ?? []
    const [first] = history
    const kind = random.below(10)
    if (kind <= 2 && (first?.kind === 'object' || (keeping.way === 'versions' && kind === 0))) {
      const after = deleted(history, keeping)
      return this.#asks(path, after, 'DELETE', `/object/${path}`, [204])
    }
    if (kind === 3 && keeping.way === 'versions') {
      const entry = random.pick([undefined, ...history.filter(({ id }) => id !== undefined)])
      if (entry === undefined) return true
      const after = removed(history, entry)
      return this.#asks(path, after, 'DELETE', `/object/${path}?versionId=${entry.id}`, [204])
    }
    if (kind === 4 && keeping.way === 'versions') {
      const versions = history.filter((one) => one.kind === 'version' && one.id !== undefined)
      const entry = random.pick([undefined, ...versions])
      if (entry === undefined) return true
      const after = uploaded(history, String(entry.sha256), keeping)
      const body = JSON.stringify({ bucket, path: name, version_id: entry.id })
      return this.#asks(path, after, 'POST', '/versions/restore', [200], body)
    }
    if (kind === 3 && history.some((entry) => entry.kind === 'trash' && !entry.isDue)) {
      return this.#expires(bucket, name, history)
    }
    const body = random.bytes(random.below(8) === 0 ? 300_000 : 1 + random.below(5000))
    const after = uploaded(history, sha256(body), keeping)
    return this.#asks(path, after, 'PUT', `/object/${path}`, [200, 201], body)
  }

  /** Asks for what makes a name's history another one. */
  async #asks(
    path: string,
    after: History,
    method: string,
    target: string,
    done: number[],
    body?: Buffer | string,
  ): Promise<boolean> {
    this.#may(path, after)
    const answer = await this.#ask(method, target, body)
    if (answer === undefined || answer.status === 503) return false
    if (!done.includes(answer.status)) {
      this.strange.push(`${method} ${target}: ${answer.status} ${answer.text}`)
      return false
    }
    this.acknowledged++
    this.#is(path, await this.#named(path, after))
    return true
  }

  /** With the id of what is new, if it is told. */
  async #named(path: string, history: History): Promise<History> {
    const [first, ...others] = history
    if (first === undefined || first.id !== undefined || this.#keeping(path).way === 'trash') return history
    const answer = await this.#ask('GET', `/versions/${path}?limit=1`)
    if (answer?.status !== 200) return history
    const { version_id: id, checksum } = JSON.parse(answer.text).items[0]
    if (checksum !== first.sha256) this.strange.push(`${path} is ${checksum}, and ${told(history)} was done`)
    return [{ ...first, id }, ...others]
  }

  async #expires(bucket: string, name: string, history: History): Promise<boolean> {
    if (this.options.expire === undefined) return true
    const path = `${bucket}/${name}`
    const after = history.map((entry): Entry => (entry.kind === 'trash' ? { ...entry, isDue: true } : entry))
    this.#may(path, after)
    const isDone = await this.options.expire(bucket, name).then(
      () => true,
      () => false,
    )
    if (isDone) this.#is(path, after)
    return isDone
  }

  #keeping(path: string): Keeping {
    return this.options.keeping.get(path.split('/')[0] ?? '') as Keeping // all paths are in one of them
  }

  #may(path: string, history: History): void {
    this.#possible.set(path, [...(this.#possible.get(path) ?? [[]]), history])
    this.#see(path)
  }

  #is(path: string, history: History): void {
    this.#possible.set(path, [history])
    this.#see(path)
  }

  #see(path: string): void {
    if (this.#seen === undefined) return
    const seen = this.#seen.get(path) ?? new Set([''])
    for (const history of this.#possible.get(path) ?? []) seen.add(told(history))
    this.#seen.set(path, seen)
  }

  /** Waits until clients are served. */
  async #isBack(): Promise<void> {
    const isServed = async () => this.#isStopping || (await this.#ask('GET', '/bucket'))?.status === 200
    await until(isServed, `clients are served again (${this})`)
  }

  /** Undefined when there is no answer. */
  async #ask(
    method: string,
    target: string,
    body?: Buffer | string,
  ): Promise<{ status: number; text: string } | undefined> {
    const { url, token } = this.options.place()
    const headers = {
      authorization: `Bearer ${token}`,
      ...(typeof body === 'string' && { 'content-type': 'application/json' }),
    }
    const signal = AbortSignal.timeout(PATIENCE_MS)
    const init = { method, headers, signal, ...(body !== undefined && { body: body as string }) }
    try {
      const response = await fetch(`${url}${target}`, init)
      return { status: response.status, text: await response.text() }
    } catch {
      return undefined
    }
  }
}

/** Who writes to names of his own, and takes another one for each that he leaves. */
class Client {
  readonly #left = new Map<string, number>()

  constructor(
    private readonly number: number,
    readonly random: Random,
  ) {}

  name(bucket: string, index: number): string {
    return `${this.number}-${index}-${this.#left.get(`${bucket} ${index}`) ?? 0}`
  }

  leave(bucket: string, index: number): void {
    const key = `${bucket} ${index}`
    this.#left.set(key, (this.#left.get(key) ?? 0) + 1)
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
