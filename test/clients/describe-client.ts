import { StorageApiError, type StorageClient } from '@supabase/storage-js'
import { createClient, type WebSocketLikeConstructor } from '@supabase/supabase-js'
import { afterAll, beforeAll, describe, expect, inject } from 'vitest'
import WebSocket from 'ws'
import { mintToken } from '../../src/server/keys.ts'
import { s3Env } from '../support/s3.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

/** What storage-js makes of an error (wire §1.8). */
export interface Refusal {
  status: number
  statusCode: string
  message: string
}

/** Clients of one real server, which runs while the tests of a `describeClient` do. */
export class Clients {
  /** Whether the server answers exactly as Supabase's would. */
  readonly isSupabase: boolean
  readonly #env: Record<string, string>
  #server: TestServer | undefined
  #buckets = 0

  constructor(env: Record<string, string>) {
    this.#env = env
    this.isSupabase = env.STORAGE_COMPAT === 'supabase'
  }

  async start(): Promise<void> {
    const s3 = inject('s3')
    this.#server = await startTestServer({ ...(s3 && (await s3Env(s3))), ...this.#env })
  }

  async stop(): Promise<void> {
    await this.#server?.close()
  }

  get server(): TestServer {
    if (!this.#server) throw new Error('the server runs only while tests do')
    return this.#server
  }

  /** Where storage-js finds the server. */
  get url(): string {
    return `${this.server.url}/storage/v1`
  }

  /** With the service key, as a backend of an app uses it. */
  get service(): StorageClient {
    return this.#supabase(this.server.keys.serviceKey)
  }

  /** With the anon key and nobody signed in, as in a browser. */
  get anonymous(): StorageClient {
    return this.#supabase(this.server.keys.anonKey)
  }

  /** With the anon key and a user signed in, who may be signed in for another time than an hour. */
  user(subject: string, expiresInSeconds = 3600): StorageClient {
    const { jwtSecret, anonKey } = this.server.keys
    return this.#supabase(anonKey, {
      accessToken: () => mintToken(jwtSecret, { role: 'authenticated', subject }, expiresInSeconds),
    })
  }

  /** With the anon key, and headers of the app's own on every request. */
  withHeaders(headers: Record<string, string>): StorageClient {
    return this.#supabase(this.server.keys.anonKey, { global: { headers } })
  }

  #supabase(key: string, options: Parameters<typeof createClient>[2] = {}): StorageClient {
    return createClient(this.server.url, key, {
      // Node 20 has none of its own; the types of `ws` differ in an overload that nobody calls.
      realtime: { transport: WebSocket as unknown as WebSocketLikeConstructor },
      ...(!options.accessToken && { auth: { persistSession: false, autoRefreshToken: false } }),
      ...options,
    }).storage
  }

  /** Makes a bucket with a name of its own, and returns that. */
  async bucket(settings: Record<string, unknown> = {}): Promise<string> {
    const name = `bucket-${++this.#buckets}`
    await this.server.createBucket(name, settings)
    return name
  }

  /** How many objects have rows, and how many files there are: both count the whole server. */
  async stored(): Promise<{ rows: number; files: number }> {
    const [row] = await this.server.admin`select count(*)::int as count from storage.objects`
    return { rows: row?.count, files: (await this.server.storedFiles()).length }
  }

  /**
   * What a client sees of an error: Supabase sends nearly all of them with status 400 and keeps the true one in
   * the body (wire §1.6).
   */
  refusal(status: number, message: string): Refusal {
    return { status: this.isSupabase ? 400 : status, statusCode: String(status), message }
  }
}

/**
 * Runs `suite` against a server of its own, started with `env`: with an S3 store in those test runs that have one,
 * and else with files (vitest.config.ts).
 */
export function describeClient(
  name: string,
  env: Record<string, string>,
  suite: (clients: Clients) => void,
): void {
  describe.skipIf(inject('s3') === null)(name, () => {
    const clients = new Clients(env)
    beforeAll(() => clients.start())
    afterAll(() => clients.stop())
    suite(clients)
  })
}

/** Runs `suite` against a server as it comes, and one that is exactly Supabase's on the wire. */
export function describeClientInBothModes(suite: (clients: Clients) => void): void {
  describeClient('by default', {}, suite)
  describeClient('under STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }, suite)
}

type Answer = { data: unknown; error: Error | null }

/** The data of an answer that must be no error. */
export function ok<A extends Answer>(answer: A): Extract<A, { error: null }>['data'] {
  if (answer.error) throw answer.error
  return answer.data
}

/** What the client was told, when the answer must be an error of the API. */
export function refused({ data, error }: { data: unknown; error: unknown }): Refusal {
  expect(data).toBeNull()
  expect(error).toBeInstanceOf(StorageApiError)
  const { status, statusCode, message } = error as StorageApiError
  return { status, statusCode, message }
}

/** The text of an object, as this client downloads it. */
export async function textOf(files: ReturnType<StorageClient['from']>, path: string): Promise<string> {
  return ok(await files.download(path)).text()
}
