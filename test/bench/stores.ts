import { randomBytes } from 'node:crypto'
import { Api, type Policy } from './api.ts'
import type { Bench } from './family.ts'
import { OptionError, type TargetOptions } from './options.ts'
import { stopAll } from './processes.ts'
import type { Budget, Result, Row } from './results.ts'
import { alternate, type Contestant } from './rounds.ts'
import { type Strongroom, startStrongroom } from './strongroom.ts'

/** A bucket of a server that is measured. */
export class Store {
  /** @param token whom the load comes from */
  constructor(
    readonly api: Api,
    readonly bucket: string,
    readonly token: string,
  ) {}

  /** @param route such as `object/info` */
  url(route: string, name: string): string {
    return `${this.api.base}/${route}/${this.bucket}/${name}`
  }

  async upload(name: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.api.upload(`${this.bucket}/${name}`, body)
  }

  /** Removes what stands directly in a folder: the disk is not to fill up from turn to turn. */
  async emptyFolder(folder: string): Promise<void> {
    for (;;) {
      const found = (await this.api.send('POST', `/object/list/${this.bucket}`, {
        prefix: folder,
        limit: 1000,
      })) as { name: string }[]
      if (found.length === 0) return
      const prefixes = found.map(({ name }) => `${folder}/${name}`)
      await this.api.send('DELETE', `/object/${this.bucket}`, { prefixes })
    }
  }
}

/** Work that needs nothing but HTTP. */
export interface Comparison {
  work: string
  unit: Result['unit']
  /** Prepares what the work needs in the bucket, and says how to measure it. */
  on(store: Store): Promise<Contestant>
  /** What it stands beside if there is no target; it may be nothing. */
  reference?: Reference
  /** Of the ratio to that reference, or else of what was measured. */
  budget?: Budget
}

/** What work stands beside that is no server of objects. */
export interface Reference {
  name: string
  /** @param ours the bucket beside which it is measured */
  on(ours: Store): Promise<Contestant>
}

export interface Arena {
  server: Strongroom
  /** The earlier build's. */
  before: Strongroom | undefined
  /** Where the rows stand beside another server, and not beside references. */
  isBesideServer: boolean
  /** What the load's token means, to be named in the row. */
  who: string
  /** Measures the work here and, by turns, on the target, or else what stands for it. */
  compare(comparison: Comparison): Promise<Row>
}

/** How much slower than another commit's build a row may be. */
const SLOWER = 0.05

/**
 * Runs `work` with a bucket on a server of our own and one on what it stands beside, if that is a server. Both go
 * afterwards.
 *
 * @param env of the servers that are started; what an earlier build does not know is not set there
 */
export async function inBuckets(
  bench: Bench,
  name: string,
  policy: Policy,
  work: (arena: Arena) => Promise<Row[]>,
  env: NodeJS.ProcessEnv = {},
): Promise<Row[]> {
  const { target, earlier, rounds } = bench
  const asUser = target === undefined || target.api.userToken !== undefined
  const server = await startStrongroom(bench.folder, name, { env })
  const before =
    earlier &&
    (await startStrongroom(bench.folder, `${name}-earlier`, { main: earlier.main, env: earlier.known(env) }))
  try {
    const open = async (api: Api, bucket: string) => {
      await api.createBucket(bucket, policy)
      return new Store(api, bucket, (asUser ? api.userToken : undefined) ?? api.serviceToken)
    }
    const ours = await open(server.api, 'bench')
    const opponent = target ?? before
    const theirs = opponent && (await open(opponent.api, target?.newBucket() ?? 'bench'))
    return await work({
      server,
      before,
      isBesideServer: theirs !== undefined,
      who: asUser ? 'under RLS' : 'by service_role',
      compare: async ({ on, reference, budget, ...row }) => {
        const other = theirs ? { name: earlier?.name ?? 'target', on: () => on(theirs) } : reference
        const contestants = [await on(ours), ...(other ? [await other.on(ours)] : [])]
        const [figures = [], others] = await alternate(contestants, rounds)
        return {
          ...row,
          ours: figures,
          ...(other && others && { reference: { name: other.name, figures: others } }),
          ...(budget && !theirs && { budget }),
          ...(earlier && { budget: budgetBeside(row.unit) }),
        }
      },
    })
  } finally {
    await stopAll() // references too, who may be connected to the server's database
    await server.stop()
    await before?.stop()
    await target?.deleteBuckets()
  }
}

function budgetBeside(unit: Result['unit']): Budget {
  const limit = unit === '/s' || unit === 'MiB/s' ? { atLeast: 1 - SLOWER } : { atMost: 1 + SLOWER }
  return { ...limit, beyondNoise: true }
}

/** The server of `--target`, and the buckets that are ours there. */
export class Target {
  readonly #buckets = new Set<string>()
  #deleting: Promise<void> = Promise.resolve()

  constructor(readonly api: Api) {}

  newBucket(): string {
    const name = `bench-${randomBytes(6).toString('hex')}`
    this.#buckets.add(name)
    return name
  }

  /** With all that is in them. One that will not go is named on stderr. Who asks meanwhile waits for all. */
  deleteBuckets(): Promise<void> {
    this.#deleting = this.#deleting.then(async () => {
      for (const name of this.#buckets) {
        this.#buckets.delete(name)
        await this.api.deleteBucket(name).catch((error) => {
          process.stderr.write(`--target keeps the bucket ${name}: ${error.message}\n`)
        })
      }
    })
    return this.#deleting
  }
}

/** @throws OptionError when nothing that knows this key answers there */
export async function openTarget({ url, serviceKey, userToken }: TargetOptions): Promise<Target> {
  const failures: string[] = []
  for (const base of [url, `${url}/storage/v1`]) {
    const api = new Api(base, serviceKey, userToken)
    try {
      await api.send('GET', '/bucket')
      return new Target(api)
    } catch (error) {
      failures.push(error instanceof TypeError ? String(error.cause) : String(error))
    }
  }
  throw new OptionError(`--target: ${failures.join('; ')}`)
}
