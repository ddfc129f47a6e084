import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pino from 'pino'
import type postgres from 'postgres'
import { readConfig } from '../../src/config.ts'
import type { Database } from '../../src/database/client.ts'
import { type Keys, mintToken } from '../../src/keys.ts'
import { startServer } from '../../src/server.ts'
import { createTestDatabase } from './database.ts'

export interface TestServer {
  /** Without a path, such as `http://127.0.0.1:40123`. */
  url: string
  keys: Keys
  /** The superuser, for a test's own policies and rows. */
  admin: postgres.Sql
  database: Database
  dataDir: string
  /** Every line the server has logged, parsed. */
  logs: Record<string, unknown>[]
  /** A token of a signed-in user, or of another role. */
  token(subject: string, role?: string): Promise<string>
  /** A request with the service key, or another token; null sends none. Paths begin after the host. */
  request(method: string, path: string, init?: RequestOptions): Promise<Response>
  /** Makes a bucket as the service. */
  createBucket(name: string, settings?: Record<string, unknown>): Promise<void>
  /** The files on disk, as `<bucket uuid>/<shard>/<version>`. */
  storedFiles(): Promise<string[]>
  close(): Promise<void>
}

export interface RequestOptions {
  token?: string | null
  headers?: Record<string, string>
  /** An object is sent as JSON. */
  body?: string | object | null
}

/** A real server on a free port: its own database in the run's PostgreSQL, its own folder. */
export async function startTestServer(env: Record<string, string> = {}): Promise<TestServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'strongroom-data-'))
  const testDatabase = await createTestDatabase()
  const logs: Record<string, unknown>[] = []
  const server = await startServer({
    config: readConfig({
      STORAGE_PORT: '0',
      STORAGE_DATA_DIR: dataDir,
      STORAGE_FSYNC: 'false',
      STORAGE_SHUTDOWN_TIMEOUT: '5s',
      // Tests of the workers start them themselves.
      STORAGE_CLEANUP_INTERVAL: '0s',
      STORAGE_SCRUB_INTERVAL: '0s',
      ...env,
    }),
    logger: pino({ level: 'debug', base: null }, lines(logs)),
    onFatal: (error) => {
      throw error
    },
    database: testDatabase.database,
  })
  const { url, keys } = server

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
    url,
    keys,
    admin: testDatabase.admin,
    database: testDatabase.database,
    dataDir,
    logs,
    request,
    token: (subject, role = 'authenticated') => mintToken(keys.jwtSecret, { role, subject }, 3600),
    createBucket: async (name, settings = {}) => {
      const response = await request('POST', '/storage/v1/bucket', { body: { name, ...settings } })
      if (!response.ok) throw new Error(`bucket ${name}: ${response.status} ${await response.text()}`)
    },
    storedFiles: async () => {
      const entries = await readdir(join(dataDir, 'objects'), { recursive: true, withFileTypes: true })
      return entries
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(join(dataDir, 'objects').length + 1))
    },
    close: async () => {
      await server.close()
      await testDatabase.drop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

function lines(into: Record<string, unknown>[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') into.push(JSON.parse(line))
      done()
    },
  })
}
