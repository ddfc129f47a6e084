import { inject } from 'vitest'
import { mintToken } from '../../../src/server/keys.ts'
import { Command, newFolder, removeFolder } from '../../support/command.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { until } from '../../support/wait.ts'
import type { Identity } from './session.ts'

/** The two secrets that all servers of a database need. */
const SECRETS = {
  STORAGE_JWT_SECRET: 'a secret that all of the servers know',
  STORAGE_SIGNING_SECRET: 'another secret that all of them know',
}

/** A server from a start to its end. */
export interface ServerProcess {
  /** Another one after each start; also the name of its sessions in PostgreSQL. */
  name: string
  url: string
}

const SETTINGS = {
  STORAGE_USER_BUCKETS: 'true',
  // Processes die here, and no machine.
  STORAGE_FSYNC: 'false',
  // Both clean up all the time; what is under way is younger than this, also on a machine that is busy with other work.
  STORAGE_CLEANUP_INTERVAL: '1s',
  STORAGE_CLEANUP_GRACE: '20s',
}

/** Whose the buckets are, and as whom the clients ask: policies judge each request. */
const USER = '7d9a4a3e-53a1-4a06-8f0c-3c1f4d6c2b10'

/** Two servers over one database and one folder. */
export class TwoServers {
  readonly both: readonly [Server, Server]

  private constructor(
    readonly database: TestDatabase,
    private readonly folder: string,
    place: Pick<Place, 'env' | 'main'>,
  ) {
    const made = (name: string) => new Server(name, { ...place, database, folder })
    this.both = [made('first'), made('second')]
  }

  /**
   * None runs yet.
   *
   * @param env of both
   * @param main another build's
   */
  static async open(env: Record<string, string> = {}, main?: string): Promise<TwoServers> {
    const given = { ...SECRETS, ...SETTINGS, ...env }
    return new TwoServers(await createTestDatabase(), await newFolder(), { env: given, main })
  }

  /** Those that serve now. */
  get running(): ServerProcess[] {
    return this.both.flatMap(({ process }) => process ?? [])
  }

  /** Starts those that do not serve. */
  async start(): Promise<void> {
    await Promise.all(this.both.map((server) => server.start()))
  }

  /** Makes a user's buckets: `closed`, and `open` to all who read. Returns how that user asks. */
  async prepare(): Promise<Identity> {
    const token = await mintToken(SECRETS.STORAGE_JWT_SECRET, { role: 'authenticated', subject: USER })
    await this.#post(token, '/bucket', { name: 'closed' })
    await this.#post(token, '/bucket', { name: 'open', public: true })
    const service = await mintToken(SECRETS.STORAGE_JWT_SECRET, { role: 'service_role' })
    const pair = await this.#post(service, '/credential', { role: 'authenticated', subject: USER })
    const keys = {
      accessKeyId: String(pair.access_key_id),
      secretAccessKey: String(pair.secret_access_key),
    }
    return { token, keys }
  }

  async remove(): Promise<void> {
    const commands = this.both.flatMap((server) => server.commands)
    await removeFolder(this.folder, commands)
    await this.database.drop()
  }

  async #post(token: string, path: string, body: object): Promise<Record<string, unknown>> {
    const response = await fetch(`${this.running[0]?.url}/storage/v1${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (response.status !== 201) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as Record<string, unknown>
  }
}

interface Place {
  database: TestDatabase
  folder: string
  env: Record<string, string>
  main: string | undefined
}

/** One of them, started and killed again and again. */
export class Server {
  /** Undefined while it does not serve. */
  process: ServerProcess | undefined
  readonly commands: Command[] = []

  constructor(
    private readonly name: string,
    private readonly place: Place,
  ) {}

  async start(): Promise<void> {
    if (this.process) return
    const { folder, env, main } = this.place
    const name = `${this.name}-${this.commands.length + 1}`
    const command = new Command(['serve'], {
      cwd: folder,
      env: { ...env, STORAGE_PORT: '0', DATABASE_URL: this.#databaseUrl(name) },
      ...(main !== undefined && { main }),
    })
    this.commands.push(command)
    this.process = { name, url: await command.url() }
  }

  /** `kill -9`. Returns once nothing that it has begun can take place any more; what served, if anything did. */
  async kill(): Promise<ServerProcess | undefined> {
    const { process } = this
    if (!process) return undefined
    this.process = undefined
    const command = this.commands.at(-1)
    command?.signal('SIGKILL')
    await command?.ended
    // PostgreSQL still carries out what a dead client has sent.
    await until(
      async () => (await this.#sessions(process.name)) === 0,
      `the sessions of ${process.name} have ended`,
    )
    return process
  }

  async #sessions(name: string): Promise<number> {
    const [row] = await this.place.database.admin`
      select count(*)::int from pg_stat_activity where application_name = ${name}`
    return Number(row?.count)
  }

  #databaseUrl(name: string): string {
    const { host, port } = inject('postgres')
    const query = new URLSearchParams({ host, port: String(port), application_name: name })
    return `postgres://strongroom_server@/${this.place.database.name}?${query}`
  }
}
