import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openBackend } from '../../src/backend/open.ts'
import { readConfig } from '../../src/config/config.ts'
import { mintToken } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder, strongroom } from '../support/command.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { storedInline, storedObjects } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { findDrift, NO_DRIFT } from './drift.ts'
import { Load } from './load.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'

const ROUNDS = isFull ? 8 : 1
const MiB = 1024 * 1024

/** The two secrets that all servers of a database need. */
const SECRETS = {
  STORAGE_JWT_SECRET: 'a secret that all of the servers know',
  STORAGE_SIGNING_SECRET: 'another secret that all of them know',
}

describeWithS3('two servers that share a database and a store, and nothing else', (s3) => {
  let database: TestDatabase
  let tcp: PostgresProxy
  let env: Record<string, string>
  let token: string
  const servers: Server[] = []

  beforeAll(async () => {
    database = await createTestDatabase()
    tcp = await openPostgresProxy()
    env = {
      ...(await s3Env(s3)),
      ...SECRETS,
      DATABASE_URL: tcp.url(database.name),
      STORAGE_PORT: '0',
      STORAGE_LOG_LEVEL: 'warn',
      STORAGE_S3_PART_SIZE: String(5 * MiB),
    }
    token = await mintToken(SECRETS.STORAGE_JWT_SECRET, { role: 'service_role' })
    // Both clean up all the time, one of them at a time.
    const eager = {
      STORAGE_LOG_LEVEL: 'info',
      STORAGE_CLEANUP_INTERVAL: '200ms',
      // Longer than a busy machine keeps a server from saying that it is alive.
      STORAGE_CLEANUP_GRACE: '10s',
    }
    for (let i = 0; i < 2; i++) servers.push(await Server.open({ ...env, ...eager }, token))
    await Promise.all(servers.map((server) => server.start()))
    expect((await first().request('POST', '/bucket', { body: { name: 'shared' } })).status).toBe(201)
  })
  afterAll(async () => {
    await Promise.all(servers.map((server) => server.remove()))
    await tcp?.close()
    await database?.drop()
  })

  const first = () => servers[0] as Server
  const second = () => servers[1] as Server

  it('serve at once what the other has stored, replaced, moved or deleted', async () => {
    const read = async (server: Server, path: string) => {
      const response = await server.request('GET', `/object/${path}`)
      return response.ok ? response.text() : response.status
    }
    await first().request('POST', '/object/shared/a.txt', { body: 'one' })
    expect(await read(second(), 'shared/a.txt')).toBe('one')
    await second().request('PUT', '/object/shared/a.txt', { body: 'two' })
    expect(await read(first(), 'shared/a.txt')).toBe('two')
    const move = { bucketId: 'shared', sourceKey: 'a.txt', destinationKey: 'b.txt' }
    await first().request('POST', '/object/move', { body: move })
    expect([await read(second(), 'shared/a.txt'), await read(second(), 'shared/b.txt')]).toEqual([404, 'two'])
    await second().request('DELETE', '/object/shared/b.txt')
    expect(await read(first(), 'shared/b.txt')).toBe(404)
  })

  it('open the URLs that the other has signed', async () => {
    await first().request('POST', '/object/shared/signed.txt', { body: 'for you' })
    const signed = await first().request('POST', '/object/sign/shared/signed.txt', {
      body: { expiresIn: 60 },
    })
    const { signedURL } = (await signed.json()) as { signedURL: string }
    expect(await (await fetch(`${second().url}/storage/v1${signedURL}`)).text()).toBe('for you')
  })

  it('lose nothing and leave nothing when one is killed amid uploads, and both clean up', {
    timeout: ROUNDS * 180_000,
  }, async () => {
    const random = new Random(newSeed())
    for (let round = 0; round < ROUNDS; round++) {
      const [survivor, victim] = round % 2 ? [first(), second()] : [second(), first()]
      const bucket = `round-${round}`
      await survivor.request('POST', '/bucket', { body: { name: bucket } })
      // Of what is asked of the victim it is not known whether it was done: only that no content may be mixed.
      const load = new Load(survivor, bucket, random.below(2 ** 30))
      const contest = new Contest(servers, bucket, random)
      load.start(4)
      contest.start()
      await load.succeeds(20)
      await until(() => contest.acknowledged > 5, 'both have replaced what the other has stored')
      await victim.kill()
      await load.succeeds(20)
      await victim.start()
      await load.succeeds(20)
      await Promise.all([load.stop(), contest.stop()])

      const { code, stdout, stderr } = await strongroom(['cleanup'], {
        cwd: survivor.folder,
        env: { ...env, STORAGE_CLEANUP_GRACE: '0s', STORAGE_CLEANUP_MAX_SHARE: '1' },
      })
      // One of the servers may be cleaning up at this moment.
      expect([code, stdout.includes('Done:') || stdout.includes('Another')]).toEqual([0, true])
      // Or it has not yet: then what the killed one has left is repaired here.
      const said = stderr.split('\n').filter((line) => line !== '')
      expect(said.map((line) => JSON.parse(line)).filter((line) => !('repair' in line))).toEqual([])
      const what = `seed ${random.seed}, ${load}`
      const pending = async () => (await findDrift({ admin: database.admin, storedFiles })).pending.length
      await until(async () => (await pending()) === 0, 'the cleanups have worked off what was pending')
      expect([what, load.strange, await load.lost(), await contest.mixed()]).toEqual([what, [], [], []])
      await until(async () => (await unfinished()) === 0, 'no multipart upload is left')
      expect(await findDrift({ admin: database.admin, storedFiles })).toEqual(NO_DRIFT)
    }
  })

  const storedFiles = async () => [
    ...(await storedInline(database.admin)),
    ...(await storedObjects(readConfig(env))),
  ]

  async function unfinished(): Promise<number> {
    const backend = await openBackend('s3', readConfig(env))
    let count = 0
    for await (const _ of backend.unfinished()) count++
    await backend.close()
    return count
  }
})

/** A server as a process of its own, in a folder of its own. */
class Server {
  url = ''
  readonly #commands: Command[] = []

  private constructor(
    readonly folder: string,
    private readonly env: Record<string, string>,
    private readonly token: string,
  ) {}

  static async open(env: Record<string, string>, token: string): Promise<Server> {
    return new Server(await newFolder(), env, token)
  }

  async start(): Promise<void> {
    const command = new Command(['serve'], { cwd: this.folder, env: this.env })
    this.#commands.push(command)
    this.url = await command.url()
  }

  async kill(): Promise<void> {
    const command = this.#commands.at(-1)
    command?.signal('SIGKILL')
    await command?.ended
  }

  remove(): Promise<void> {
    return removeFolder(this.folder, this.#commands)
  }

  request(method: string, path: string, { body }: { body?: string | object | null } = {}): Promise<Response> {
    const isJson = body !== null && typeof body === 'object' && body.constructor === Object
    return fetch(`${this.url}/storage/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.token}`,
        ...(isJson && { 'content-type': 'application/json' }),
      },
      ...(body != null && { body: isJson ? JSON.stringify(body) : body }),
    } as RequestInit)
  }
}

/** Writers on all servers that replace the same few objects, small ones and ones of several parts. */
class Contest {
  acknowledged = 0
  readonly #sent = new Set<string>()
  readonly #paths: [string, string]
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(
    private readonly servers: Server[],
    bucket: string,
    private readonly random: Random,
  ) {
    this.#paths = [`${bucket}/contested-1`, `${bucket}/contested-2`]
  }

  start(): void {
    this.#running = Promise.all(this.servers.flatMap((server) => [this.#write(server), this.#write(server)]))
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  /** Objects whose content nobody has sent so. */
  async mixed(): Promise<string[]> {
    const mixed: string[] = []
    for (const path of this.#paths) {
      for (const server of this.servers) {
        const response = await server.request('GET', `/object/${path}`)
        const bytes = new Uint8Array(await response.arrayBuffer())
        const isSent = this.#sent.has(sha256(bytes))
        if (response.status !== 200 || !isSent) mixed.push(`${path}: ${response.status}`)
      }
    }
    return mixed
  }

  async #write(server: Server): Promise<void> {
    while (!this.#isStopping) {
      const isLarge = this.random.below(4) === 0
      const body = Buffer.alloc(isLarge ? 6 * MiB : 2000, this.random.bytes(64)) // of two parts, or of none
      this.#sent.add(sha256(body))
      const path = `/object/${this.random.pick(this.#paths)}`
      // No answer means that this server was killed, and is started again elsewhere.
      const response = await server.request('PUT', path, { body }).catch(() => undefined)
      await response?.arrayBuffer().catch(() => {})
      if (response?.ok) this.acknowledged++
      if (response === undefined) await delay(20)
    }
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
