import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import pino from 'pino'
import { readConfig } from '../../src/config.ts'
import type { Database } from '../../src/database/client.ts'
import { type Keys, mintToken } from '../../src/keys.ts'
import { startServer } from '../../src/server.ts'

export interface Served {
  keys: Keys
  /** Every line the server has logged, parsed. */
  logs: { level: number; msg?: string }[]
  /** A request with the service key, or another token. An object is sent as JSON. */
  request(method: string, path: string, init?: { token?: string; body?: string | object }): Promise<Response>
  /** A token of a signed-in user. */
  token(subject: string): Promise<string>
  close(): Promise<void>
}

/** A real server like that of `startTestServer`, over a database that the test names, by URL or open already. */
export async function serveOn(database: string | Database): Promise<Served> {
  const dataDir = await mkdtemp(join(tmpdir(), 'strongroom-data-'))
  await chmod(dataDir, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const logs: Served['logs'] = []
  const env = { STORAGE_PORT: '0', STORAGE_DATA_DIR: dataDir, STORAGE_FSYNC: 'false' }
  const { url, keys, close } = await startServer({
    config: readConfig(typeof database === 'string' ? { ...env, DATABASE_URL: database } : env),
    logger: pino(lines(logs)),
    onFatal: (error) => {
      throw error
    },
    ...(typeof database !== 'string' && { database }),
  }).catch(async (error: unknown) => {
    await rm(dataDir, { recursive: true })
    throw error
  })
  return {
    keys,
    logs,
    request: (method, path, { token = keys.serviceKey, body } = {}) =>
      fetch(`${url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(typeof body === 'object' && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: typeof body === 'object' ? JSON.stringify(body) : body }),
      }),
    token: (subject) => mintToken(keys.jwtSecret, { role: 'authenticated', subject }, 3600),
    close: async () => {
      await close()
      await rm(dataDir, { recursive: true })
    },
  }
}

function lines(into: Served['logs']): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().split('\n')) if (line !== '') into.push(JSON.parse(line))
      done()
    },
  })
}
