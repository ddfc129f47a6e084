import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type postgres from '#postgres'
import { Command, type Ended, newFolder, removeFolder, strongroom } from '../../support/command.ts'
import type { S3Keys } from '../../support/s3-signer.ts'
import { asSuperuser } from '../../support/superuser.ts'

/** A data folder with its keys, on which one server runs after the other, each with a PostgreSQL of its own. */
export class Site {
  readonly dataDir: string
  url = ''
  token = ''
  /** Of S3. */
  keys: S3Keys = { accessKeyId: '', secretAccessKey: '' }
  readonly #folder: string
  #server: Command | undefined

  private constructor(
    folder: string,
    /** Of each server, and of commands beside it. */
    private readonly env: Record<string, string>,
  ) {
    this.#folder = folder
    this.dataDir = join(folder, 'storage-data')
  }

  static async open(env: Record<string, string> = {}): Promise<Site> {
    return new Site(await newFolder(), env)
  }

  get server(): Command {
    if (this.#server === undefined) throw new Error('no server was started')
    return this.#server
  }

  /** Begins to start a server; `start` waits until it serves. */
  launch(): Command {
    const env = { STORAGE_PORT: '0', ...this.env }
    // Its own cleanup runs all the time, so that it too is killed now and then in the middle.
    const cleanup = { STORAGE_CLEANUP_INTERVAL: '200ms', STORAGE_CLEANUP_GRACE: '2s' }
    this.#server = new Command(['serve'], { cwd: this.#folder, env: { ...env, ...cleanup } })
    return this.#server
  }

  async start(): Promise<void> {
    this.url = await this.launch().url()
    const { serviceKey, s3 } = JSON.parse(await readFile(join(this.dataDir, 'keys.json'), 'utf8'))
    this.token = serviceKey
    this.keys = s3
  }

  /** `kill -9`, and returns once the process is gone. */
  async killServer(): Promise<void> {
    this.server.signal('SIGKILL')
    await this.server.ended
  }

  /** A request as the service. Paths begin after `/storage/v1`. */
  request(method: string, path: string, body?: object): Promise<Response> {
    const headers = { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' }
    const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) }
    return fetch(`${this.url}/storage/v1${path}`, init)
  }

  /** Runs `work` with a session of the superuser's. */
  sql<T>(work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
    return asSuperuser(this.dataDir, work)
  }

  /** Process ids: PostgreSQL's main process, its helpers and sessions, and those sessions that serve requests. */
  async postgresProcesses(): Promise<{ main: number; children: number[]; sessions: number[] }> {
    const rows = await this.sql(
      (sql) => sql<{ pid: number; name: string }[]>`
        select pid, application_name as name from pg_stat_activity where pid <> pg_backend_pid()`,
    )
    const sessions = rows.filter(({ name }) => name === 'strongroom')
    const { postgres } = this.server
    if (postgres === undefined || sessions.length === 0) throw new Error('PostgreSQL serves nobody')
    return { main: postgres, children: rows.map(({ pid }) => pid), sessions: sessions.map(({ pid }) => pid) }
  }

  /** One cleanup of everything that is left over, beside the running server. */
  async cleanup(): Promise<void> {
    const { code, stdout, stderr } = await this.run(['cleanup'], { STORAGE_CLEANUP_GRACE: '0s' })
    // The server is at its own passes all the time; this one has its turn between two of them.
    if (code !== 0 || !stdout.startsWith('Done:'))
      throw new Error(`the cleanup ended with ${code}: ${stdout}${stderr}`)
  }

  /** A command beside the running server, to its end. */
  run(args: string[], env: Record<string, string> = {}): Promise<Ended> {
    return strongroom(args, { cwd: this.#folder, env: { ...this.env, ...env } })
  }

  /** Ends what runs, however that went, and removes the folder. */
  async close(): Promise<void> {
    await removeFolder(this.#folder, this.#server === undefined ? [] : [this.#server])
  }
}
