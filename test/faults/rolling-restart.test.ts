import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { mintToken } from '../../src/server/keys.ts'
import { Command, newFolder, removeFolder } from '../support/command.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { freePort } from '../support/free-port.ts'
import { describeWith } from '../support/installed.ts'
import { type Nginx, startNginxWith } from '../support/nginx.ts'
import { openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { ROOT } from '../support/project-texts.ts'
import { until } from '../support/wait.ts'
import { isFull } from './size.ts'

/** Each restarts both servers, one after the other. */
const ROUNDS = isFull ? 20 : 2
const CLIENTS = isFull ? 8 : 4

const SECRET = 'a secret that all of the servers know'

/** Larger than the buffers on its way, so that it is under way for as long as it is sent. */
const LARGE = Buffer.alloc(3_000_000, 'l')

describeWith('nginx', 'two servers behind nginx, of which one at a time is stopped and started', () => {
  let database: TestDatabase
  let tcp: PostgresProxy
  let folder: string
  let nginx: Nginx
  let token: string
  const servers: RestartedServer[] = []
  const commands: Command[] = []

  beforeAll(async () => {
    database = await createTestDatabase()
    tcp = await openPostgresProxy()
    folder = await newFolder()
    token = await mintToken(SECRET, { role: 'service_role' })
    const env = {
      DATABASE_URL: tcp.url(database.name),
      STORAGE_JWT_SECRET: SECRET,
      STORAGE_SIGNING_SECRET: SECRET,
      STORAGE_TRUST_PROXY: 'true',
      STORAGE_SHUTDOWN_DELAY: '300ms',
    }
    for (let i = 0; i < 2; i++) servers.push(new RestartedServer(folder, env, await freePort(), commands))
    await Promise.all(servers.map((server) => server.start()))
    const example = await readFile(join(ROOT, 'deploy/nginx/strongroom.conf'), 'utf8')
    const upstream = servers.map(({ port }) => `server 127.0.0.1:${port} max_fails=0;`).join('\n')
    nginx = await startNginxWith((listen) =>
      example
        .replace('server 127.0.0.1:8209 max_fails=0;', upstream)
        .replace('listen 443 ssl;', `listen ${listen};`)
        .replace(/ssl_certificate\w* .*;/g, ''),
    )
    expect((await ask('POST', '/bucket', JSON.stringify({ name: 'box' }))).status).toBe(201)
  })
  afterAll(async () => {
    await nginx?.close()
    await removeFolder(folder, commands)
    await tcp?.close()
    await database?.drop()
  })

  const ask = (method: string, path: string, body?: string | Buffer) =>
    fetch(`${nginx.url}/storage/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body !== undefined && { body: body as unknown as string }),
    })

  it('refuse nobody, and break nothing off', { timeout: ROUNDS * 60_000 + 120_000 }, async () => {
    /** What went wrong, and what was answered well. */
    const failed: string[] = []
    const done = new Map<string, number>()
    let isOver = false
    const tries = async (what: string, expected: number, request: () => Promise<Response>) => {
      try {
        const response = await request()
        const text = await response.text()
        if (response.status !== expected) failed.push(`${what}: ${response.status} ${text.slice(0, 200)}`)
        else done.set(what, (done.get(what) ?? 0) + 1)
      } catch (error) {
        failed.push(`${what}: ${error} ${error instanceof Error ? error.cause : ''}`)
      }
    }
    const client = async (number: number) => {
      for (let turn = 0; !isOver; turn++) {
        const path = `/object/box/${number}/${turn}`
        const { body, what } =
          turn % 10 === 0 ? { body: LARGE, what: 'large' } : { body: path, what: 'small' }
        await tries(`${what} upload`, 201, () => ask('POST', path, body))
        await tries('download', 200, () => ask('GET', path))
        await tries('list', 200, () =>
          ask('POST', '/object/list/box', JSON.stringify({ prefix: `${number}` })),
        )
        await tries('overwrite', 200, () => ask('PUT', path, `${path} again`))
        await tries('delete', 204, () => ask('DELETE', path))
      }
    }
    const clients = Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)))
    const answered = () => [...done.values()].reduce((sum, count) => sum + count, 0)
    const goOn = async () => {
      const before = answered()
      await until(() => failed.length > 0 || answered() > before + 40, 'clients are served')
    }
    for (let round = 0; round < ROUNDS && failed.length === 0; round++) {
      for (const server of servers) {
        await goOn()
        expect(await server.stop()).toBe(0)
        await goOn()
        await server.start()
      }
    }
    isOver = true
    await clients
    expect(failed).toEqual([])
    expect([...done.keys()].sort()).toEqual([
      ...['delete', 'download', 'large upload', 'list', 'overwrite', 'small upload'],
    ])
    console.log(`rolling restart: ${2 * ROUNDS} stops, ${answered()} requests, ${failed.length} failed`)
  })
})

/** One that listens at the same port each time. */
class RestartedServer {
  #command: Command | undefined

  constructor(
    private readonly folder: string,
    private readonly env: Record<string, string>,
    readonly port: number,
    /** All that were ever started, by all. */
    private readonly commands: Command[],
  ) {}

  async start(): Promise<void> {
    const env = { ...this.env, STORAGE_PORT: String(this.port), STORAGE_S3_PROTOCOL_PORT: '0' }
    this.#command = new Command(['serve'], { cwd: this.folder, env })
    this.commands.push(this.#command)
    await this.#command.url()
  }

  /** As an operator does; its exit code. */
  async stop(): Promise<number | null> {
    this.#command?.signal('SIGTERM')
    return (await this.#command?.ended)?.code ?? null
  }
}
