import { createHash } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { forEachConcurrent } from '../../../src/lib/concurrency.ts'
import { Command, type Ended } from '../../support/command.ts'
import { asSuperuser } from '../../support/superuser.ts'
import { until } from '../../support/wait.ts'
import { Load } from '../load.ts'
import { MovingLoad } from '../moving-load.ts'
import type { Possible } from '../possibilities.ts'
import { newSeed } from '../random.ts'
import { ServerProcesses } from '../server-processes.ts'
import { isFull } from '../size.ts'
import { findHistories, unreadable } from '../versions/found.ts'
import { told } from '../versions/history.ts'
import { KEEPING, makeBuckets } from '../versions/keeping.ts'
import type { Place } from '../versions/requests.ts'
import { VersionedLoad } from '../versions/versioned-load.ts'

const CLIENTS = isFull ? 8 : 2
const VERSION_CLIENTS = isFull ? 4 : 1
const PAGE = 1000
const READS_AT_ONCE = 8
/** Between two questions, in milliseconds. */
const PAUSE_MS = 100
/** In reduced size backups give way to nobody: whoever waits for them is another test. */
const PACE = isFull ? {} : { STORAGE_BACKUP_SHARE: '1' }
const UNDER_WAY = new Set(['pending', 'running', 'restoring'])

export interface SiteOptions {
  /** Of all servers and commands. */
  env?: Record<string, string>
  /** Settings that lead to a database, by its name and its URL; the built-in PostgreSQL without it. */
  way?: (name: string, url: string) => Record<string, string>
  /** Whether something is killed meanwhile. */
  mayGoUnanswered?: boolean
}

/** A backup or a restore, as the service sees it. */
export interface Job {
  id: string
  kind: string
  type: string | null
  status: string
  parent: string | null
  error: string | null
}

/** What may be stored at each path, at some moment or another; where versions or a trash are kept, what may be told of all of them. */
export type Seen = Map<string, Possible>

/**
 * Servers with clients who note what they are told, the commands that back them up, and the comparison of what a backup gives back
 * with what was acknowledged.
 */
export class BackupSite {
  readonly load: Load
  readonly moving: MovingLoad
  readonly versions: VersionedLoad
  readonly #commands: Command[] = []
  #restored = 0

  private constructor(
    readonly servers: ServerProcesses,
    mayGoUnanswered: boolean,
  ) {
    const seed = newSeed()
    this.load = new Load({ request: servers.requestOnLine }, 'box', seed)
    const options = { seed: seed + 1000, mayGoUnanswered }
    this.moving = new MovingLoad(servers, 'box', this.load.possible, options)
    this.versions = new VersionedLoad({ place: () => this.#place, keeping: KEEPING, seed: seed + 2000 })
  }

  /** One server serves, and nobody asks it for anything yet. */
  static async open({
    env = {},
    way = () => ({}),
    mayGoUnanswered = false,
  }: SiteOptions = {}): Promise<BackupSite> {
    const site = new BackupSite(
      await ServerProcesses.open({ STORAGE_S3_PROTOCOL_PORT: '0', ...PACE, ...env }, way),
      mayGoUnanswered,
    )
    try {
      await site.servers.start()
      const made = await site.servers.request('POST', '/storage/v1/bucket', { body: { name: 'box' } })
      expect(made.status).toBe(201)
      await site.sql((sql) => makeBuckets(site.#place, sql))
    } catch (error) {
      await site.close()
      throw error
    }
    return site
  }

  get acknowledged(): number {
    return this.load.acknowledged + this.moving.acknowledged + this.versions.acknowledged
  }

  /** The data folder of the first server. */
  get dataDir(): string {
    return join(this.servers.folder, 'storage-data')
  }

  /** Where backups are made when nobody says where: a folder, or an s3:// URL. */
  get target(): string {
    return this.servers.env.STORAGE_BACKUP_TARGET ?? join(this.dataDir, 'backups')
  }

  /** Lets the clients work until `work` has ended. */
  async underLoad<T>(work: () => Promise<T>): Promise<T> {
    this.load.start(CLIENTS)
    this.moving.start()
    this.versions.start(VERSION_CLIENTS)
    try {
      await this.load.succeeds(20)
      return await work()
    } finally {
      await Promise.all([this.moving.stop(), this.load.stop(), this.versions.stop()])
      expect(this.versions.strange).toEqual([])
    }
  }

  /** The one that was begun last. */
  get lastCommand(): Command {
    const last = this.#commands.at(-1)
    if (!last) throw new Error('none was begun')
    return last
  }

  /** Runs a command beside the servers. */
  run(args: string[], env: Record<string, string> = {}): Promise<Ended> {
    return this.begin(args, env).ended
  }

  begin(args: string[], env: Record<string, string> = {}): Command {
    const command = new Command(args, { cwd: this.servers.folder, env: { ...this.servers.env, ...env } })
    this.#commands.push(command)
    return command
  }

  /** Makes a backup that must be one, by the command. Returns what may be in it. */
  async create(...more: string[]): Promise<Seen> {
    return (await this.watched(() => this.succeeds(['backup', 'create', '--with-trash', ...more]))).seen
  }

  /** What may be seen at one moment of `work`. */
  async watched<T>(work: () => Promise<T>): Promise<{ seen: Seen; result: T }> {
    const seen = this.load.possible.watch()
    const versions = this.versions.watch()
    const result = await work()
    const told = [...versions()].map(([path, all]) => [path, new Set([...all].map(orNothing))] as const)
    return { seen: new Map([...seen(), ...told]), result }
  }

  /** Runs a command that must succeed. Returns what it prints. */
  async succeeds(args: string[], env: Record<string, string> = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, env)
    expect([args, code, stderr]).toEqual([args, 0, expect.not.stringContaining('strongroom:')])
    return stdout
  }

  /** The ids of the whole backups in the target, the newest first. */
  async listed(): Promise<string[]> {
    const lines = (await this.succeeds(['backup', 'list', '--json'])).split('\n')
    return lines.flatMap((line) => (line === '' ? [] : [JSON.parse(line).id]))
  }

  /** Asks for a backup by REST; for a `path`, about one. */
  async ask(method: string, path = '', body?: object): Promise<{ status: number; job: Job }> {
    const response = await this.servers.request(method, `/storage/v1/backup${path}`, {
      ...(body && { body }),
    })
    const text = await response.text()
    return { status: response.status, job: text === '' ? null : JSON.parse(text) }
  }

  /**
   * What has become of a job, once it has come to an end; its server may be away for a while. It is waited for as long as the test
   * may take: whoever makes a backup lets all others go first, and on a busy machine they take long.
   */
  async ended(id: string): Promise<Job> {
    for (;;) {
      const answer = await this.ask('GET', `/${id}`).catch(() => undefined)
      if (answer?.status === 200 && !UNDER_WAY.has(answer.job.status)) return answer.job
      await delay(PAUSE_MS)
    }
  }

  /** All there are, the newest first; the server, or its database, may be away for a while. */
  async jobs(): Promise<Job[]> {
    let items: Job[] | undefined
    await until(async () => {
      const response = await this.servers.request('GET', '/storage/v1/backup?limit=1000')
      if (response.status === 200) items = ((await response.json()) as { items: Job[] }).items
      return items !== undefined
    }, 'the jobs are listed')
    return items ?? []
  }

  /** Deletes backups by REST, the newest first, and waits until their files are gone. */
  async remove(ids: string[]): Promise<void> {
    for (const id of ids) expect((await this.ask('DELETE', `/${id}`)).status).toBe(204)
    await until(async () => {
      const listed = await this.listed()
      return ids.every((id) => !listed.includes(id))
    }, 'what was deleted is gone')
  }

  /** Restores the newest backup to an empty place. Returns what a server has that is started there, by path: SHA-256s. */
  async restored(args: string[] = [], env: Record<string, string> = {}): Promise<Map<string, string>> {
    const folder = join(this.servers.folder, `restored-${this.#restored++}`)
    await mkdir(folder)
    const there = {
      ...env,
      STORAGE_DATA_DIR: folder,
      STORAGE_FSYNC: 'false',
      STORAGE_BACKUP_LOG: 'false',
      DATABASE_URL: '', // its own, whichever the servers have
    }
    try {
      await this.succeeds(['restore', '--from', this.target, ...args], there)
      return await this.#contentOf(there)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** What is not as it was told at some moment. */
  differences(found: Map<string, string>, seen: Seen): string[] {
    const paths = new Set([...found.keys(), ...seen.keys()])
    return [...paths].flatMap((path) => {
      const [is, may] = [found.get(path) ?? null, seen.get(path) ?? new Set([null])]
      return may.has(is) ? [] : [`${path}: ${is} is none of ${[...may]}`]
    })
  }

  /** Works as the superuser of the database. */
  sql: <T>(work: Parameters<typeof asSuperuser<T>>[1]) => Promise<T> = (work) =>
    this.servers.env.DATABASE_URL === undefined
      ? asSuperuser(this.dataDir, work)
      : work(this.servers.database.admin)

  async close(): Promise<void> {
    for (const command of this.#commands) if (command.isRunning) command.signal('SIGKILL')
    await Promise.all(this.#commands.map(({ ended }) => ended))
    await this.servers.remove()
  }

  get #place(): Place {
    return { url: `${this.servers.url}/storage/v1`, token: this.servers.keys.serviceKey }
  }

  async #contentOf(env: Record<string, string>): Promise<Map<string, string>> {
    const server = this.begin(['serve'], env)
    try {
      const place = { ...this.#place, url: `${await server.url()}/storage/v1` }
      const url = `${place.url}/object`
      const headers = { authorization: `Bearer ${this.servers.keys.serviceKey}` }
      const found = new Map<string, string>()
      await forEachConcurrent(READS_AT_ONCE, await namesIn(url, headers), async (name) => {
        const response = await fetch(`${url}/box/${name}`, { headers })
        const bytes = new Uint8Array(await response.arrayBuffer())
        const hash = createHash('sha256').update(bytes).digest('hex')
        found.set(`box/${name}`, response.status === 200 ? hash : String(response.status))
      })
      const all = await asSuperuser(String(env.STORAGE_DATA_DIR), findHistories)
      const histories = new Map([...all].filter(([path]) => KEEPING.has(path.split('/')[0] ?? '')))
      for (const [path, rows] of histories) found.set(path, told(rows))
      for (const wrong of await unreadable(histories, place)) found.set(wrong, 'not readable')
      return found
    } finally {
      server.signal('SIGTERM')
      await server.ended
    }
  }
}

function orNothing(told: string): string | null {
  return told === '' ? null : told
}

async function namesIn(url: string, headers: Record<string, string>): Promise<string[]> {
  const names: string[] = []
  for (;;) {
    const body = JSON.stringify({ prefix: '', limit: PAGE, offset: names.length })
    const init = { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body }
    const page = (await (await fetch(`${url}/list/box`, init)).json()) as { name: string }[]
    names.push(...page.map(({ name }) => name))
    if (page.length < PAGE) return names
  }
}
