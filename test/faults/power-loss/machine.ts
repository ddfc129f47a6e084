import { mkdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import type postgres from '#postgres'
import { Command, newFolder, removeFolder } from '../../support/command.ts'
import { type S3Keys, signRequest, UNSIGNED } from '../../support/s3-signer.ts'
import { IN_FILES } from '../../support/server.ts'
import { asSuperuser } from '../../support/superuser.ts'
import { PATIENCE_MS, until } from '../../support/wait.ts'
import type { SendS3 } from '../upload-in-parts.ts'
import { DatabaseDisk } from './database-disk.ts'
import { Disk, type DiskFolder } from './disk.ts'
import { readJournal } from './journal.ts'
import { disagreements, type Loss, lose, scan } from './loss.ts'

const RECORDER = new URL('recorder.mjs', import.meta.url).href

/** What the recorder is told. */
interface Recording {
  /** What happens below this folder is recorded. */
  folder: string
  journal: string
  /** Where second names go. */
  shadows: string
  /** The process kills itself at this many changes of its own, each counted as it begins and as it ends. */
  diesAt?: number | undefined
  /** Whether the disk can link files; otherwise the server has to copy them. */
  canLink: boolean
  /** The environment of PostgreSQL's own recorder. */
  database: Record<string, string>
}

export interface BootOptions {
  /** The power fails at this many changes of files; without it, at `losePower`. */
  diesAt?: number
  canLink?: boolean
  /** Another build than ours: its `main.js`. */
  main?: string | undefined
  /** Whether the bytes go to a store, which is away: nothing but rows can be made. */
  keepsNoFiles?: boolean | undefined
  /** Whether small bytes are kept in PostgreSQL; otherwise each object is a file. */
  keepsInline?: boolean | undefined
}

/** A store that nobody reaches. */
const STORE_AWAY = {
  STORAGE_BACKEND: 's3',
  STORAGE_S3_BUCKET: 'away',
  STORAGE_S3_ENDPOINT: 'http://127.0.0.1:1',
  STORAGE_S3_ACCESS_KEY: 'nobody',
  STORAGE_S3_SECRET_KEY: 'knows',
}

/** A computer with a server on it, whose power can fail. */
export class Machine {
  url = ''
  /** The service key: that of the first boot since there is a data folder, which must stay good. */
  token = ''
  #keys: S3Keys = { accessKeyId: '', secretAccessKey: '' }
  readonly dataDir: string
  readonly #folder: string
  readonly #disk: string
  readonly #database: DatabaseDisk
  readonly #commands: Command[] = []
  #server: Command | undefined
  /** What is durable, when the power comes back. */
  #atPowerOn: DiskFolder

  private constructor(folder: string) {
    this.#folder = folder
    this.#disk = join(folder, 'disk')
    mkdirSync(this.#disk)
    this.dataDir = join(this.#disk, 'storage-data')
    this.#database = new DatabaseDisk(folder, join(this.dataDir, 'postgres'))
    this.#atPowerOn = this.#powerOn()
  }

  static async build(): Promise<Machine> {
    return new Machine(realpathSync(await newFolder()))
  }

  /** Starts the server and waits until it serves. */
  async boot({
    diesAt,
    canLink = true,
    main,
    keepsNoFiles,
    keepsInline,
  }: BootOptions = {}): Promise<undefined> {
    this.#server = this.#launch(['serve'], {
      diesAt,
      canLink,
      main,
      env: {
        STORAGE_PORT: '0',
        STORAGE_LOG_LEVEL: 'info',
        ...(keepsInline ? {} : IN_FILES),
        ...(keepsNoFiles && STORE_AWAY),
      },
    })
    this.url = await this.#server.url()
    if (this.token !== '') return
    const { serviceKey, s3 } = JSON.parse(readFileSync(join(this.dataDir, 'keys.json'), 'utf8'))
    this.token = serviceKey
    this.#keys = s3
  }

  /** Waits until the power has failed by itself: see `diesAt`. */
  async dies(): Promise<void> {
    await until(() => this.#server?.isRunning === false, 'the power fails')
  }

  /** Ends every process with no chance to do anything more, and takes from the disk what was not flushed. */
  async losePower(loss: Loss): Promise<void> {
    for (const command of this.#commands) {
      if (command.isRunning) command.signal('SIGKILL')
      await command.ended
    }
    await this.#database.losePower(loss.database)
    const disk = new Disk(this.#disk, this.#atPowerOn)
    disk.replay(readJournal(this.#journal))
    const wrong = disagreements(this.#disk, disk.root, this.#isOpaque)
    if (wrong.length > 0) throw new Error(`The recorder has missed something:\n${wrong.join('\n')}`)
    lose(this.#disk, disk.root, loss, this.#shadows, this.#isOpaque)
    this.#atPowerOn = this.#powerOn()
  }

  /** Takes the data folder away for good, while the power is off. The next start makes new keys. */
  erase(): void {
    rmSync(this.dataDir, { recursive: true, force: true })
    this.token = ''
    this.#atPowerOn = this.#powerOn()
  }

  /** One cleanup of everything that is left over, beside the running server and on the same record. */
  async cleanUp(): Promise<void> {
    // Files whose removal was not flushed come back, and may be most of what a bucket has.
    const env = { STORAGE_CLEANUP_GRACE: '0s', STORAGE_CLEANUP_MAX_SHARE: '1' }
    const { code, stdout, stderr } = await this.#launch(['cleanup'], { canLink: true, env }).ended
    if (code !== 0) throw new Error(`the cleanup ended with ${code}: ${stdout}${stderr}`)
  }

  /**
   * Moves small bytes out of the database, back into it, and so on, beside the running server and on the same record, until
   * the power fails.
   *
   * @returns what was wrong with a run that came to its end before
   */
  async moveInline({ canLink }: Pick<Recording, 'canLink'>): Promise<string[]> {
    for (let run = 0; ; run++) {
      const way = run % 2 === 0 ? '--out' : '--in'
      const { code, stdout, stderr } = await this.#launch(['inline', way], { canLink, env: {} }).ended
      if (this.#server?.isRunning !== true) return []
      // With 1 it tells how many have come meanwhile, which writers see to.
      const isDone = code === 0 || (code === 1 && stdout.includes('have come meanwhile'))
      if (!isDone || stderr !== '') return [`inline ${way} ended with ${code}: ${stdout}${stderr}`]
    }
  }

  /** A request as the service. Paths begin after `/storage/v1`. */
  request(method: string, path: string, init: Pick<RequestInit, 'body' | 'headers'> = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${this.token}`, ...init.headers }
    const signal = AbortSignal.timeout(PATIENCE_MS)
    const options = { ...init, method, headers, signal, duplex: 'half' }
    return fetch(`${this.url}/storage/v1${path}`, options as RequestInit)
  }

  /** A request of S3 as the service. */
  readonly s3: SendS3 = (method, target, body) => {
    const path = `/s3${target}`
    const url = `${this.url}/storage/v1${path}`
    return this.request(method, path, {
      headers: signRequest({ method, url, payload: UNSIGNED }, this.#keys),
      ...(body !== undefined && { body: body as NonNullable<RequestInit['body']> }),
    })
  }

  /** Runs `work` with a session of the superuser's. */
  sql<T>(work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
    return asSuperuser(this.dataDir, work)
  }

  /** Ends what runs, however that went, and removes the disk. */
  async close(): Promise<void> {
    await removeFolder(this.#disk, this.#commands)
    await rm(this.#folder, { recursive: true, force: true })
  }

  #launch(
    args: string[],
    {
      env,
      main,
      ...recorded
    }: Pick<Recording, 'diesAt' | 'canLink'> & {
      env: Record<string, string>
      main?: string | undefined
    },
  ): Command {
    const recording: Recording = {
      folder: this.#disk,
      journal: this.#journal,
      shadows: this.#shadows,
      database: this.#database.recorder,
      ...recorded,
    }
    const command = new Command(args, {
      cwd: this.#disk,
      env: {
        STORAGE_LOG_LEVEL: 'warn',
        ...env,
        NODE_OPTIONS: `--import=${RECORDER}`,
        POWER_LOSS: JSON.stringify(recording),
      },
      ...(main !== undefined && { main }),
    })
    this.#commands.push(command)
    return command
  }

  get #journal(): string {
    return join(this.#folder, 'journal')
  }

  get #shadows(): string {
    return join(this.#folder, 'shadows')
  }

  #powerOn(): DiskFolder {
    rmSync(this.#journal, { force: true })
    rmSync(this.#shadows, { recursive: true, force: true })
    mkdirSync(this.#shadows)
    return scan(this.#disk, this.#shadows, this.#isOpaque)
  }

  /** PostgreSQL's own files are recorded elsewhere. */
  readonly #isOpaque = (path: string): boolean => {
    const [first, second] = relative(this.dataDir, path).split(sep)
    return first !== '' && first !== '..' && first !== 'objects' && second === undefined
  }
}
