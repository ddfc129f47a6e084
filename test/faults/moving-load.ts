import { createHash } from 'node:crypto'
import { TusRequests } from '../support/tus-requests.ts'
import type { Possibilities } from './possibilities.ts'
import { Random } from './random.ts'
import type { ServerProcesses } from './server-processes.ts'

/**
 * One client that uploads resumably, copies what it has, moves it about and deletes it, each time to a name that was never
 * used; and notes what it was told as `Load` does.
 */
export class MovingLoad {
  acknowledged = 0
  readonly strange: string[] = []
  readonly #tus: TusRequests
  readonly #random: Random
  #names: string[] = []
  #count = 0
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(
    private readonly servers: ServerProcesses,
    private readonly bucket: string,
    private readonly possible: Possibilities,
    seed: number,
  ) {
    this.#tus = new TusRequests(servers)
    this.#random = new Random(seed)
  }

  start(): void {
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
      if (this.#names.length > 10) await this.#delete()
    }
  }

  async #upload(): Promise<void> {
    const name = this.#newName()
    const body = this.#random.bytes(1 + this.#random.below(400_000))
    const hash = createHash('sha256').update(body).digest('hex')
    this.possible.may(this.#path(name), [hash])
    const url = await this.#tus.begin({ bucket: this.bucket, name }, body.length)
    const half = Math.floor(body.length / 2)
    await this.#tus.patch(url, 0, body.subarray(0, half))
    const { status } = await this.#tus.patch(url, half, body.subarray(half))
    if (!this.#isDone(status, [204], `TUS ${name}`)) return
    this.possible.is(this.#path(name), [hash])
    this.#names.push(name)
  }

  async #bring(how: 'copy' | 'move'): Promise<void> {
    const source = this.#names[this.#random.below(this.#names.length)]
    if (source === undefined) return
    const [from, name] = [this.#path(source), this.#newName()]
    const to = this.#path(name)
    const bytes = [...this.possible.at(from)]
    this.possible.may(to, bytes)
    if (how === 'move') this.possible.may(from, [null])
    const body = { bucketId: this.bucket, sourceKey: source, destinationKey: name }
    const { status } = await this.servers.request('POST', `/object/${how}`, { body })
    if (!this.#isDone(status, [200, 201], `${how} ${source} ${name}`)) return
    this.possible.is(to, bytes)
    this.#names.push(name)
    if (how === 'copy') return
    this.possible.is(from, [null])
    this.#names = this.#names.filter((other) => other !== source)
  }

  async #delete(): Promise<void> {
    const name = this.#names.shift() ?? ''
    this.possible.may(this.#path(name), [null])
    const { status } = await this.servers.request('DELETE', `/object/${this.#path(name)}`)
    if (this.#isDone(status, [204], `DELETE ${name}`)) this.possible.is(this.#path(name), [null])
  }

  #isDone(status: number, done: number[], what: string): boolean {
    const isDone = done.includes(status)
    if (isDone) this.acknowledged++
    else this.strange.push(`${what}: ${status}`)
    return isDone
  }

  #newName(): string {
    return `moved-${this.#count++}`
  }

  #path(name: string): string {
    return `${this.bucket}/${name}`
  }
}
