import { createHash } from 'node:crypto'
import { TusRequests } from '../support/tus-requests.ts'
import type { Possibilities } from './possibilities.ts'
import { Random } from './random.ts'
import type { ServerProcesses } from './server-processes.ts'

/** How many objects it has, about: whoever compares all of them is to be able to do so often. */
const OBJECTS = 30

export interface MovingLoadOptions {
  seed: number
  /** Whether something is killed meanwhile: then an answer may be missing, or say that nobody can tell. */
  mayGoUnanswered?: boolean
}

/**
 * One client that uploads resumably, copies what it has, moves it about and deletes it, each time to a name that was never
 * used; and notes what it was told as `Load` does.
 */
export class MovingLoad {
  acknowledged = 0
  readonly strange: string[] = []
  readonly #tus: TusRequests
  readonly #random: Random
  readonly #mayGoUnanswered: boolean
  #names: string[] = []
  #count = 0
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(
    private readonly servers: ServerProcesses,
    private readonly bucket: string,
    private readonly possible: Possibilities,
    { seed, mayGoUnanswered = false }: MovingLoadOptions,
  ) {
    this.#tus = new TusRequests(servers)
    this.#random = new Random(seed)
    this.#mayGoUnanswered = mayGoUnanswered
  }

  /** Begins, or goes on after `stop`. */
  start(): void {
    this.#isStopping = false
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      await this.#upload()
      await this.#bring('copy')
      await this.#bring('move')
      while (this.#names.length > OBJECTS) await this.#delete()
    }
  }

  async #upload(): Promise<void> {
    const name = this.#newName()
    const body = this.#random.bytes(1 + this.#random.below(400_000))
    const hash = createHash('sha256').update(body).digest('hex')
    this.possible.may(this.#path(name), [hash])
    const half = Math.floor(body.length / 2)
    const send = async () => {
      const created = await this.#tus.create({ bucket: this.bucket, name }, body.length)
      const url = created.headers.get('location')
      if (created.status !== 201 || url === null) return created
      const begun = await this.#tus.patch(url, 0, body.subarray(0, half))
      return begun.status === 204 ? this.#tus.patch(url, half, body.subarray(half)) : begun
    }
    if (!(await this.#isDone(`TUS ${name}`, [204], send))) return
    this.possible.is(this.#path(name), [hash])
    this.#names.push(name)
  }

  async #bring(how: 'copy' | 'move'): Promise<void> {
    const source = this.#names[this.#random.below(this.#names.length)]
    if (source === undefined) return
    const [from, name] = [this.#path(source), this.#newName()]
    const [to, before] = [this.#path(name), this.possible.at(from)]
    const bytes = [...before].filter((hash) => hash !== null)
    this.possible.may(to, bytes)
    if (how === 'move') this.possible.may(from, [null])
    const body = { bucketId: this.bucket, sourceKey: source, destinationKey: name }
    const send = () => this.servers.request('POST', `/object/${how}`, { body })
    const refusals = before.has(null) ? [404] : []
    const isDone = await this.#isDone(`${how} ${source} ${name}`, [200, 201], send, refusals)
    if (isDone) {
      this.possible.is(to, bytes)
      this.#names.push(name)
    }
    if (how === 'copy') return
    // What may have been moved away is not asked for again.
    if (isDone) this.possible.is(from, [null])
    this.#names = this.#names.filter((other) => other !== source)
  }

  async #delete(): Promise<void> {
    const name = this.#names.shift() ?? ''
    const path = this.#path(name)
    const refusals = this.possible.at(path).has(null) ? [404] : []
    this.possible.may(path, [null])
    const send = () => this.servers.request('DELETE', `/object/${path}`)
    if (await this.#isDone(`DELETE ${name}`, [204], send, refusals)) this.possible.is(path, [null])
  }

  /** Asks, and notes an answer that is neither of success nor one of `refusals`. Returns whether it was of success. */
  async #isDone(
    what: string,
    done: number[],
    send: () => Promise<Response>,
    refusals: number[] = [],
  ): Promise<boolean> {
    const answer = await send().catch((error: unknown) => String(error))
    const status = typeof answer === 'string' ? null : answer.status
    if (status !== null && done.includes(status)) {
      this.acknowledged++
      return true
    }
    const isOpen = status === null || status === 503
    const isProper = isOpen ? this.#mayGoUnanswered : refusals.includes(status)
    if (!isProper) {
      this.strange.push(
        `${what}: ${typeof answer === 'string' ? answer : `${status} ${await answer.text()}`}`,
      )
    }
    return false
  }

  #newName(): string {
    return `moved-${this.#count++}`
  }

  #path(name: string): string {
    return `${this.bucket}/${name}`
  }
}
