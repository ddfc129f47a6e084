import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Keys } from '../../../src/server/keys.ts'
import { Command, newFolder, removeFolder } from '../../support/command.ts'
import { until } from '../../support/wait.ts'

const GAUGE = fileURLToPath(new URL('gauge.js', import.meta.url))

/** What a process holds on to. */
export interface Holdings {
  /** In bytes, of all that is not garbage. */
  memory: number
  /** Open file descriptors, connections among them. */
  files: number
}

/** The server as people run it: a process with the embedded PostgreSQL, alone in a folder that can be searched. */
export class Victim {
  private constructor(
    readonly folder: string,
    readonly command: Command,
    readonly url: string,
    readonly keys: Keys,
  ) {}

  static async start(env: Record<string, string> = {}): Promise<Victim> {
    const folder = await newFolder()
    await mkdir(join(folder, 'tmp'))
    const command = new Command(['serve'], {
      cwd: folder,
      env: {
        STORAGE_PORT: '0',
        STORAGE_FSYNC: 'false',
        TMPDIR: join(folder, 'tmp'),
        NODE_OPTIONS: `--expose-gc --import=${GAUGE}`,
        GAUGE_FILE: join(folder, 'gauge.json'),
        ...env,
      },
    })
    const url = await command.url().catch(async (error: unknown) => {
      await removeFolder(folder, [command])
      throw error
    })
    const keys = JSON.parse(await readFile(join(folder, 'storage-data', 'keys.json'), 'utf8'))
    return new Victim(folder, command, url, keys)
  }

  /** A request of the service's, which must succeed. */
  async done(method: string, path: string, body?: string | object, headers: Record<string, string> = {}) {
    const isJson = typeof body === 'object'
    const response = await fetch(`${this.url}/storage/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.keys.serviceKey}`,
        ...(isJson && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isJson ? JSON.stringify(body) : body }),
    })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response
  }

  async holdings(): Promise<Holdings> {
    const file = join(this.folder, 'gauge.json')
    await rm(file, { force: true })
    this.command.signal('SIGUSR2')
    await until(() => existsSync(file), 'the process tells its memory')
    const { heapUsed, external } = JSON.parse(await readFile(file, 'utf8'))
    const files = await readdir(`/proc/${this.command.child.pid}/fd`)
    return { memory: heapUsed + external, files: files.length }
  }

  /** What it has written where it has no business, or under a name that is not its own. */
  async strays(): Promise<string[]> {
    const entries = await readdir(this.folder, { recursive: true, withFileTypes: true })
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.folder.length + 1))
      .filter((path) => !OWN_FILES.some((own) => own.test(path)))
  }

  /** Lines of the log that tell of a fault of the server's own, and those that have a secret in them. */
  faults(): string[] {
    const { s3, ...others } = this.keys
    const keys: string[] = [...Object.values(others), s3.secretAccessKey]
    const secrets = keys.map((key) => key.slice(key.lastIndexOf('.') + 1))
    return this.command.stdout.split('\n').filter((line) => {
      if (!line.startsWith('{')) return false
      // A path is the client's own: who puts a key into it by mistake has told it to everybody on the way.
      const told = line.replace(/"url":"[^"?]*/, '')
      return /^\{"level":"(?:error|fatal)"/.test(line) || secrets.some((secret) => told.includes(secret))
    })
  }

  async close(): Promise<void> {
    await removeFolder(this.folder, [this.command])
  }
}

const UUID = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'

/** By their paths in the folder. PostgreSQL's names have nothing to do with anybody's text. */
const OWN_FILES = [
  /^gauge\.json$/,
  /^storage-data\/keys\.json$/,
  new RegExp(`^storage-data/objects/${UUID}/[0-9a-f]{2}/${UUID}$`),
  /^storage-data\/postgres(\/|[-.])/,
]
