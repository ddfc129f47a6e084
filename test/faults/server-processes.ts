import { mintToken } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { type Line, NOWHERE, openLine } from '../support/line.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { within } from '../support/wait.ts'

/** The two secrets that all servers of a database need. */
const SECRETS = {
  STORAGE_JWT_SECRET: 'a secret that all of the servers know',
  STORAGE_SIGNING_SECRET: 'another secret that all of them know',
}

/** Servers as processes of their own, over one database and one folder, and the line on which clients reach one. */
export class ServerProcesses {
  readonly #commands: Command[] = []

  private constructor(
    readonly folder: string,
    readonly database: TestDatabase,
    readonly line: Line,
    readonly keys: { serviceKey: string },
    readonly proxy: PostgresProxy,
    /** Of all servers, and of other commands beside them. */
    readonly env: Record<string, string>,
  ) {}

  /**
   * There is none yet.
   *
   * @param env of all servers
   * @param way settings that lead to a database, by its name and its URL
   */
  static async open(
    env: Record<string, string> = {},
    way: (name: string, url: string) => Record<string, string> = (_, url) => ({ DATABASE_URL: url }),
  ): Promise<ServerProcesses> {
    const database = await createTestDatabase()
    const proxy = await openPostgresProxy() // settings name a database by TCP
    const serviceKey = await mintToken(SECRETS.STORAGE_JWT_SECRET, { role: 'service_role' })
    const line = await openLine(NOWHERE)
    return new ServerProcesses(await newFolder(), database, line, { serviceKey }, proxy, {
      ...SECRETS,
      ...way(database.name, proxy.url(database.name)),
      STORAGE_PORT: '0',
      ...env,
    })
  }

  /** Where clients find whichever server the line leads to. */
  get url(): string {
    return this.line.url
  }

  /** The one that was started last. */
  get last(): Command {
    const last = this.#commands.at(-1)
    if (!last) throw new Error('none was started')
    return last
  }

  /** Starts one, and leads the line to it. @param env of this one, besides that of all */
  async start(env: Record<string, string> = {}): Promise<Command> {
    const command = new Command(['serve'], { cwd: this.folder, env: { ...this.env, ...env } })
    this.#commands.push(command)
    this.line.target = await command.url()
    return command
  }

  /** As the service, past the line. An object is sent as JSON. */
  request = (
    method: string,
    path: string,
    { body }: { body?: object | string | null } = {},
  ): Promise<Response> => {
    const headers = { authorization: `Bearer ${this.keys.serviceKey}`, 'content-type': 'application/json' }
    const answer = fetch(`${this.line.target}${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    })
    return within(answer, `${method} ${path} is answered`)
  }

  /** As the service, on the line. A body is sent as it is; an answer that does not come is one that says nothing. */
  requestOnLine = async (
    method: string,
    path: string,
    { body }: { body?: string | object | null } = {},
  ): Promise<Response> => {
    const headers = { authorization: `Bearer ${this.keys.serviceKey}` }
    const ask = async () => {
      const response = await fetch(`${this.url}${path}`, {
        method,
        headers,
        ...(body && { body: body as string }),
      })
      const bytes = await response.arrayBuffer()
      return new Response(response.status === 204 ? null : bytes, response)
    }
    const nothing = new Response(null, { status: 503, headers: { 'retry-after': '1' } })
    return within(
      ask().catch(() => nothing),
      `${method} ${path} is answered`,
    )
  }

  async remove(): Promise<void> {
    await removeFolder(this.folder, this.#commands)
    await this.line.close()
    await this.proxy.close()
    await this.database.drop()
  }
}
