import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pino from 'pino'
import type { ProvidedContext } from 'vitest'
import type postgres from '#postgres'
import { openBackend } from '../../src/backend/open.ts'
import { type Config, readConfig } from '../../src/config/config.ts'
import type { Database } from '../../src/database/connection/client.ts'
import { INLINE_BUCKET, type Location } from '../../src/model/location.ts'
import { type Keys, mintToken } from '../../src/server/keys.ts'
import type { Extensions } from '../../src/server/request-server.ts'
import { startServer } from '../../src/server/start-server.ts'
import { openTracing } from '../../src/telemetry/tracing/open.ts'
import type { Tracing } from '../../src/telemetry/tracing/tracing.ts'
import { createTestDatabase } from './database.ts'

export interface Served {
  config: Config
  /** Without a path, such as `http://127.0.0.1:40123`. */
  url: string
  /** Where the S3 protocol is at `/`; null when it has no port of its own. */
  s3Url: string | null
  keys: Keys
  dataDir: string
  /** Every line the server has logged, parsed. */
  logs: LogLine[]
  /** A token of a signed-in user, or of another role. */
  token(subject: string, role?: string): Promise<string>
  /** A request with the service key, or another token; null sends none. Paths begin after the host. */
  request(method: string, path: string, init?: RequestOptions): Promise<Response>
  close(): Promise<void>
}

export interface TestServer extends Served {
  /** The superuser, for a test's own policies and rows. */
  admin: postgres.Sql
  database: Database
  /** Makes a bucket as the service. */
  createBucket(name: string, settings?: Record<string, unknown>): Promise<void>
  /** What has bytes, on the disk, in the store, or in the database, as `<bucket uuid>/<first two of version>/<version>`. */
  storedFiles(): Promise<string[]>
  /** Another server over the same database and folder. To be closed before this one. */
  beside(env?: Record<string, string>): Promise<Served>
}

export interface LogLine {
  level: number
  msg?: string
  [field: string]: unknown
}

export interface RequestOptions {
  token?: string | null
  headers?: Record<string, string>
  /** An object is sent as JSON. */
  body?: string | object | null
}

/** What a server stands on, where a test wants to meddle with it. */
export interface Ground {
  /** Where the server itself finds its database, by its name: behind a proxy, for example. */
  databaseUrl?: (name: string) => string
  /** Another than the run's own PostgreSQL. */
  postgres?: ProvidedContext['postgres']
  extensions?: Extensions
}

/** Settings of a server whose small objects are files, too, for what tests do to files. */
export const IN_FILES = { STORAGE_INLINE_SIZE: '0' }

/** A real server on a free port: its own database in the run's PostgreSQL, its own folder. */
export async function startTestServer(
  env: Record<string, string> = {},
  { databaseUrl, postgres, extensions }: Ground = {},
): Promise<TestServer> {
  const tracing = await openTracing(readConfig(env).traces, () => {})
  const { database, admin, name, drop, connect } = await createTestDatabase({
    ...(postgres && { postgres }),
    tracing,
  })
  const starting = databaseUrl
    ? serve({ ...env, DATABASE_URL: databaseUrl(name) }, undefined, extensions, tracing)
    : serve(env, database, extensions, tracing)
  const served = await starting.catch(async (error: unknown) => {
    await drop()
    throw error
  })
  const { dataDir } = served
  return {
    ...served,
    admin,
    database,
    createBucket: async (name, settings = {}) => {
      const response = await served.request('POST', '/storage/v1/bucket', { body: { name, ...settings } })
      if (!response.ok) throw new Error(`bucket ${name}: ${response.status} ${await response.text()}`)
    },
    storedFiles: async () => {
      const inDatabase = await storedInline(admin)
      if (served.config.backend === 's3') return [...inDatabase, ...(await storedObjects(served.config))]
      const entries = await readdir(join(dataDir, 'objects'), { recursive: true, withFileTypes: true })
      const files = entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(join(dataDir, 'objects').length + 1))
      // A version may be a folder of several.
      const versions = files.map((file) => (file.startsWith('parts/') ? file : file.split('/', 3).join('/')))
      return [...inDatabase, ...new Set(versions)]
    },
    beside: (more = {}) => serve({ ...env, ...more, STORAGE_DATA_DIR: dataDir }, connect()),
    close: async () => {
      await served.close()
      await drop()
    },
  }
}

/** The same over a database that the test names, by URL, by settings, or open already. */
export function serveOn(database: string | Database | Record<string, string>): Promise<Served> {
  if (typeof database === 'string') return serve({ DATABASE_URL: database })
  return isOpen(database) ? serve({}, database) : serve(database)
}

function isOpen(database: Database | Record<string, string>): database is Database {
  return typeof database.sql === 'function'
}

async function serve(
  env: Record<string, string>,
  database?: Database,
  extensions?: Extensions,
  tracing?: Tracing,
): Promise<Served> {
  const dataDir = env.STORAGE_DATA_DIR ?? (await mkdtemp(join(tmpdir(), 'strongroom-data-')))
  const removeDataDir = async () => {
    if (env.STORAGE_DATA_DIR === undefined) await rm(dataDir, { recursive: true, force: true })
  }
  const logs: LogLine[] = []
  const config = readConfig({
    STORAGE_PORT: '0',
    STORAGE_DATA_DIR: dataDir,
    STORAGE_FSYNC: 'false',
    STORAGE_SHUTDOWN_TIMEOUT: '5s',
    // Tests of the workers start them themselves.
    STORAGE_CLEANUP_INTERVAL: '0s',
    STORAGE_SCRUB_INTERVAL: '0s',
    // What is asked of the database is asked for a test.
    STORAGE_AUDIT: 'off',
    STORAGE_BACKUP_SHARE: '1', // a test waits for it
    ...env,
  })
  const server = await startServer({
    config,
    logger: pino(
      { level: 'debug', base: null, ...(tracing && { mixin: () => ({ ...tracing.ids() }) }) },
      lines(logs),
    ),
    tracing,
    onFatal: (error) => {
      throw error
    },
    ...(database && { database }),
    ...(extensions && { extensions }),
  }).catch(async (error: unknown) => {
    await removeDataDir()
    throw error
  })
  const { url, s3Url, keys } = server

  async function request(method: string, path: string, init: RequestOptions = {}): Promise<Response> {
    const { token = keys.serviceKey, headers = {}, body } = init
    const isJson = body !== null && typeof body === 'object' && body.constructor === Object
    return fetch(`${url}${path}`, {
      method,
      headers: {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(isJson && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body != null && { body: isJson ? JSON.stringify(body) : body }),
      ...(body instanceof ReadableStream && { duplex: 'half' }),
    } as RequestInit)
  }

  return {
    config,
    url,
    s3Url,
    keys,
    dataDir,
    logs,
    request,
    token: (subject, role = 'authenticated') => mintToken(keys.jwtSecret, { role, subject }, 3600),
    close: async () => {
      await server.close()
      await tracing?.close()
      await removeDataDir()
    },
  }
}

/** What the database has of bytes, in the same words. */
export async function storedInline(admin: postgres.Sql): Promise<string[]> {
  const rows = await admin<{ version: string }[]>`select version from storage.inline_bytes`
  return rows.map(({ version }) => locationPath({ bucket: INLINE_BUCKET, version }))
}

function locationPath({ bucket, version }: Location): string {
  return `${bucket}/${version.slice(0, 2)}/${version}`
}

/** What the store of these settings has, as `<bucket uuid>/<first two of version>/<version>`. */
export async function storedObjects(config: Config): Promise<string[]> {
  const backend = await openBackend('s3', config)
  const found: string[] = []
  for await (const { location } of backend.list()) {
    found.push(locationPath(location))
  }
  await backend.close()
  return found
}

function lines(into: LogLine[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') into.push(JSON.parse(line))
      done()
    },
  })
}
