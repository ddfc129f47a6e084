import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Socket } from 'node:net'
import { isAbsolute } from 'node:path'
import { inject } from 'vitest'
import {
  fatalError,
  type Message,
  Messages,
  preparedName,
  simpleQuery,
  statementText,
} from './postgres-messages.ts'

/**
 * What goes wrong with one round trip:
 *
 * - `before`: the connection is cut, and PostgreSQL never saw the request;
 * - `after`: PostgreSQL has carried it out, and the answer is lost with the connection. At a commit this is the
 *   cut in the middle of it;
 * - `behind`: the connection is cut behind the answer;
 * - `error`: PostgreSQL refuses the request with `sqlState`, or the next one behind a rollback.
 */
export type Mishap = ({ sqlState: string } & { kind: 'error' }) | { kind: 'before' | 'after' | 'behind' }

/** How a connection is cut: in order (FIN) or by a reset (RST), which a driver may notice by another path. */
export type Cut = 'end' | 'reset'

/** Between a server and PostgreSQL. A round trip is what PostgreSQL answers: a Sync, Query or Flush, and a startup. */
export interface PostgresProxy {
  /** For DATABASE_URL. */
  url(database: string, user?: string): string
  /** What each round trip since the last `arm` was about, such as `commit`. */
  readonly roundTrips: string[]
  /** Whether the mishap has come about. */
  readonly hasStruck: boolean
  /** Counts from 0 again, and lets round trip `at` (from 1) have a mishap. None does when `at` is 0. */
  arm(at: number, mishap?: Mishap, cut?: Cut): void
  /** Asks before each round trip whether it is to have a mishap. */
  decide: ((about: string) => Mishap | undefined) | undefined
  /** What happens to connections from now on. Those that are open go on, but for `hang`: there nothing moves. */
  mode: 'pass' | 'refuse' | 'hang'
  /** Cuts all connections. */
  cutAll(cut?: Cut): void
  readonly connections: number
  close(): Promise<void>
}

/** @param target a PostgreSQL, by the folder of its socket or by its host; the run's own when left out */
export async function openPostgresProxy(
  target: { host: string; port: number } = inject('postgres'),
): Promise<PostgresProxy> {
  const { host } = target
  const upstream = isAbsolute(host) ? { path: `${host}/.s.PGSQL.${target.port}` } : target
  const links = new Set<Link>()
  const server = createServer({ noDelay: true }, (client) => {
    if (proxy.mode === 'refuse') {
      client.destroy()
      return
    }
    const link = new Link(client, upstream, plan)
    links.add(link)
    client.once('close', () => links.delete(link))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP

  let armed: { at: number; mishap: Mishap } | undefined
  let mode: PostgresProxy['mode'] = 'pass'
  let isStruck = false
  let roundTrips: string[] = []
  const plan: Plan = {
    cut: 'end',
    next: (about) => {
      roundTrips.push(about)
      const isDue = armed !== undefined && roundTrips.length === armed.at
      if (!isDue) return proxy.decide?.(about)
      // PostgreSQL refuses no rollback: its turn is the next one's.
      if (armed?.mishap.kind === 'error' && about === 'rollback') {
        armed.at++
        return undefined
      }
      isStruck = true
      return armed?.mishap
    },
    isHanging: () => mode === 'hang',
  }

  const proxy: PostgresProxy = {
    url: (database, user = 'strongroom_server') => `postgres://${user}@127.0.0.1:${port}/${database}`,
    get roundTrips() {
      return roundTrips
    },
    get hasStruck() {
      return isStruck
    },
    arm: (at, mishap = { kind: 'before' }, cut = 'end') => {
      roundTrips = []
      isStruck = false
      plan.cut = cut
      armed = at === 0 ? undefined : { at, mishap }
    },
    decide: undefined,
    get mode() {
      return mode
    },
    set mode(next) {
      mode = next
      for (const link of links) link.goOn()
    },
    cutAll: (cut = 'end') => {
      for (const link of links) link.cut(cut)
    },
    get connections() {
      return links.size
    },
    close: async () => {
      for (const link of links) link.cut('end')
      await new Promise((done) => server.close(done))
    },
  }
  return proxy
}

interface Plan {
  cut: Cut
  next(about: string): Mishap | undefined
  isHanging(): boolean
}

/** A round trip under way. `end` holds the types of the message that completes its answer. */
interface RoundTrip {
  end: string
  mishap: Mishap | undefined
}

/** One connection of the server, and the one to PostgreSQL behind it. */
class Link {
  readonly #client: Socket
  readonly #postgres: Socket
  readonly #plan: Plan
  readonly #texts = new Map<string, string>()
  /** Messages of a round trip that is not complete yet: they go on together, or not at all. */
  #gathered: Buffer[] = []
  #about = ''
  readonly #underWay: RoundTrip[] = []
  /** What has come while nothing was to move. */
  #held: (() => void)[] = []

  constructor(client: Socket, upstream: NetConnectOpts, plan: Plan) {
    this.#client = client
    this.#plan = plan
    this.#postgres = connect(upstream)
    this.#through(client, new Messages('client'), (message) => this.#request(message))
    this.#through(this.#postgres, new Messages('server'), (message) => this.#answer(message))
    for (const socket of [client, this.#postgres]) {
      socket.on('error', () => {}) // 'close' follows
      socket.once('close', () => this.cut('end'))
    }
  }

  cut(how: Cut): void {
    this.#postgres.destroy()
    if (how === 'reset' && !this.#client.destroyed) this.#client.resetAndDestroy()
    else this.#client.destroy()
  }

  /** Lets what was held move, if it may. */
  goOn(): void {
    if (this.#plan.isHanging()) return
    for (const move of this.#held.splice(0)) move()
  }

  #through(from: Socket, messages: Messages, take: (message: Message) => void): void {
    const move = (bytes: Buffer) => {
      for (const message of messages.add(bytes)) take(message)
    }
    from.on('data', (bytes: Buffer) => {
      if (this.#plan.isHanging()) this.#held.push(() => move(bytes))
      else move(bytes)
    })
  }

  #request(message: Message): void {
    const { type, bytes } = message
    this.#gathered.push(bytes)
    this.#remember(message)
    const end = ENDS[type]
    if (end === undefined && type !== 'X' && type !== 'p') return
    const request = Buffer.concat(this.#gathered.splice(0))
    if (end === undefined) {
      this.#postgres.write(request)
      return
    }
    const about = type === 'startup' ? 'connect' : this.#about
    const mishap = this.#plan.next(about)
    if (mishap?.kind === 'before') {
      this.cut(this.#plan.cut)
      return
    }
    if (mishap?.kind === 'error' && type === 'startup') {
      this.#client.end(fatalError(mishap.sqlState, 'injected'))
      return
    }
    this.#underWay.push({ end: mishap?.kind === 'error' ? 'Z' : end, mishap })
    this.#postgres.write(mishap?.kind === 'error' ? refusal(about, mishap.sqlState) : request)
    if (mishap?.kind === 'error') this.#refused = type
  }

  /** The type of the request that was refused. */
  #refused = ''

  #answer({ type, bytes }: Message): void {
    const [current] = this.#underWay
    const mishap = current?.mishap
    if (mishap === undefined || mishap.kind === 'behind') this.#client.write(bytes)
    // Behind a Flush the client sends a Sync after an error, and takes no ReadyForQuery before.
    if (mishap?.kind === 'error' && (type === 'E' || (type === 'Z' && this.#refused !== 'H'))) {
      this.#client.write(bytes)
    }
    if (!current?.end.includes(type)) return
    this.#underWay.shift()
    if (mishap?.kind === 'after') this.cut(this.#plan.cut)
    if (mishap?.kind === 'behind') {
      this.#postgres.destroy()
      this.#client.end()
    }
  }

  /** Notes which statement the round trip is about. */
  #remember(message: Message): void {
    const name = preparedName(message)
    const text = statementText(message)
    if (text !== undefined) this.#texts.set(name ?? '', text)
    if (name !== undefined || text !== undefined) this.#about = this.#texts.get(name ?? '') ?? ''
  }
}

/** Requests that PostgreSQL answers, and the answer's last message: ReadyForQuery, or what describes a statement. */
const ENDS: Record<string, string> = { startup: 'Z', S: 'Z', Q: 'Z', H: 'TnE' }

/** Makes PostgreSQL itself refuse: it then knows that the transaction has failed, as after a real error. */
function refusal(about: string, sqlState: string): Buffer {
  const raise = `do $$ begin raise exception 'injected' using errcode = '${sqlState}'; end $$`
  return simpleQuery(/^\s*commit/i.test(about) ? `rollback; ${raise}` : raise)
}
