import { Random } from '../random.ts'
import { Contents } from './contents.ts'
import { Crowd } from './crowd.ts'
import { Histories } from './histories.ts'
import type { Content } from './linearizability.ts'
import { type Server, TwoServers } from './servers.ts'
import type { Identity } from './session.ts'

interface RoundsOptions {
  seed: number
  /** Of both servers. */
  env?: Record<string, string>
  /** Another build's. */
  main?: string
}

/** Rounds of work in the midst of which servers are killed. */
export class Rounds {
  readonly crowd: Crowd
  readonly histories = new Histories()
  /** Servers that were killed in the midst of work. */
  kills = 0
  readonly #contents = new Contents()
  readonly #random: Random

  private constructor(
    private readonly servers: TwoServers,
    seed: number,
    identity: Identity,
  ) {
    this.#random = new Random(seed)
    this.crowd = new Crowd(servers, identity, this.#contents, this.histories, this.#random)
  }

  static async open({ seed, env, main }: RoundsOptions): Promise<Rounds> {
    const servers = await TwoServers.open(env, main)
    try {
      await servers.start()
      return new Rounds(servers, seed, await servers.prepare())
    } catch (error) {
      await servers.remove()
      throw error
    }
  }

  /**
   * Lets the crowd work until so many operations were answered. What it was told is in `histories` then, and nothing
   * that was asked can be carried out any more.
   */
  async round(operations: number, { isStruck = true } = {}): Promise<void> {
    const { crowd, servers } = this
    await servers.start()
    const strikesAt = crowd.answered + operations * (0.2 + this.#random.below(50) / 100)
    const work = crowd.work(operations)
    if (isStruck) await crowd.reaches(strikesAt).then(() => this.#strike())
    await work
    for (const server of servers.both) await this.#kill(server)
    this.histories.settled(await this.#stored())
  }

  /** What must not be: answers that nothing explains, and those that no order does. */
  problems(): string[] {
    const problems = [...this.crowd.problems, ...this.histories.problems()]
    this.#contents.forgetAllBut(this.histories.contents)
    return problems
  }

  async close(): Promise<void> {
    this.crowd.close()
    await this.servers.remove()
  }

  /** Kills one of the servers or both, or ends what they have begun in the database. */
  async #strike(): Promise<void> {
    const { both } = this.servers
    const dice = this.#random.below(6)
    if (dice === 0) return this.#endSessions()
    const victims = dice === 1 ? both : [this.#random.pick([...both])]
    this.kills += victims.length
    await Promise.all(victims.map((server) => this.#kill(server)))
    await this.servers.start()
  }

  async #kill(server: Server): Promise<void> {
    const process = await server.kill()
    if (process) this.histories.ended(process)
  }

  async #endSessions(): Promise<void> {
    const names = this.servers.running.map(({ name }) => name)
    await this.servers.database.admin`
      select pg_terminate_backend(pid) from pg_stat_activity where application_name = any (${names})`
  }

  async #stored(): Promise<Map<string, Content>> {
    const rows = await this.servers.database.admin`
      select bucket_id || '/' || name as key, metadata ->> 'eTag' as etag from storage.objects
      where name not like 'elsewhere/%'`
    return new Map(rows.map(({ key, etag }) => [String(key), this.#contents.taggedBy(etag)]))
  }
}
