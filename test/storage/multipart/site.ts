import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import pino from 'pino'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import type { ResumableBackend } from '../../../src/backend/resumable-backend.ts'
import type { Database } from '../../../src/database/connection/client.ts'
import type { KeptPart } from '../../../src/database/queries/multipart-parts.ts'
import { ServingSession } from '../../../src/database/queries/serving-session.ts'
import type { Caller } from '../../../src/model/caller.ts'
import { TypeDetection } from '../../../src/storage/detection/type-detection.ts'
import {
  type Completion,
  MultipartUploads,
  type UploadPlace,
} from '../../../src/storage/multipart/multipart-uploads.ts'
import type { SentPart } from '../../../src/storage/multipart/part-arrivals.ts'
import { UploadLocks } from '../../../src/storage/resumable/upload-locks.ts'
import { Heartbeats } from '../../../src/storage/writing/heartbeats.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'

export const MIB = 1024 * 1024

/** What one share may have here, and how long an upload stays. */
export const BOUNDS = { lifetimeMs: 3_600_000, idleMs: 3_600_000, uploads: 5, bytes: 60 * MIB }

/** Two servers over one database and one folder. */
export interface Site extends TestDatabase {
  backend: ResumableBackend
  here: UploadServer
  there: UploadServer
  /** A bucket of its own for a test. */
  bucket(settings?: { fileSizeLimit?: number; policy?: string }): Promise<{ id: string; uid: string }>
  close(): Promise<void>
}

export class UploadServer {
  readonly database: Database
  readonly session: ServingSession
  readonly uploads: MultipartUploads

  constructor(database: Database, backend: ResumableBackend) {
    this.database = database
    this.session = new ServingSession(database)
    const logger = pino({ level: 'silent' })
    this.uploads = new MultipartUploads({
      types: new TypeDetection('missing'),
      database,
      backend,
      logger,
      maxFileSize: 40 * MIB,
      nameRules: 'default',
      locks: new UploadLocks({ database, session: this.session, logger, waitMs: 5000 }),
      heartbeats: new Heartbeats({ database, logger, intervalMs: 60_000 }),
      invalidate: async () => {},
      unfinished: BOUNDS,
      now: () => new Date(),
    })
  }
}

/** A backend of which some methods are others. */
export function overriding(backend: ResumableBackend, methods: Partial<ResumableBackend>): ResumableBackend {
  return new Proxy(backend, {
    get: (target, name) => {
      const value = Reflect.get(name in methods ? methods : target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** @param wrap what the servers have for a backend */
export async function openSite(wrap = (backend: ResumableBackend) => backend): Promise<Site> {
  const test = await createTestDatabase()
  const root = await mkdtemp(join(tmpdir(), 'strongroom-parts-'))
  const backend = new LocalBackend({ root, fsync: false })
  const newServer = () => new UploadServer(test.connect(), wrap(backend))
  const [here, there] = [newServer(), newServer()]
  return {
    ...test,
    backend,
    here,
    there,
    bucket: async ({
      fileSizeLimit = null,
      policy = 'private',
    }: {
      fileSizeLimit?: number | null
      policy?: string
    } = {}) => {
      const id = `b-${randomUUID()}`
      const [row] = await test.admin`
        insert into storage.buckets (id, name, file_size_limit, policy) values (${id}, ${id}, ${fileSizeLimit}, ${policy})
        returning uid`
      return { id, uid: String(row?.uid) }
    },
    close: async () => {
      for (const { session, database } of [here, there]) {
        await session.close()
        await database.close()
      }
      await backend.close()
      await rm(root, { recursive: true })
      await test.drop()
    },
  }
}

/** Nothing of the caller but who it is. */
export function callerOf(role: string, subject: string | null = null): Caller {
  const claims = { role, ...(subject !== null && { sub: subject }) }
  return {
    role,
    subject,
    claims,
    token: '',
    operation: 'storage.s3.upload.part',
    method: 'PUT',
    path: '/s3',
    headers: {},
    userBuckets: false,
  }
}

export const SERVICE = callerOf('service_role')

export const bytesOf = (size: number) => randomBytes(size)

export const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex')

/** A part as a client sends it. */
export function part(number: number, bytes: Uint8Array, stream = Readable.from([bytes])): SentPart {
  return {
    number,
    size: bytes.length,
    open: () => ({
      stream,
      admit: () => {},
      discard: () => {},
      md5: async () => Buffer.from(md5(bytes), 'hex'),
      late: async () => ({ s3: { eTag: `"${md5(bytes)}"` } }),
    }),
  }
}

export const named = (number: number, bytes: Uint8Array) => ({ number, etag: md5(bytes) })

/** @param parts none stands for all */
export function completion(parts: Completion['parts'] = [], condition?: Completion['condition']): Completion {
  const describe = (made: KeptPart[]) => ({
    eTag: `"${md5(Buffer.from(made.map(({ etag }) => etag).join()))}-${made.length}"`,
  })
  return { parts, condition, describe }
}

/** Begins an upload as the service, or somebody else. */
export async function begin(
  server: UploadServer | undefined,
  bucket: string,
  name: string,
  { caller = SERVICE, share = null }: { caller?: Caller; share?: string | null } = {},
): Promise<UploadPlace> {
  if (!server) throw new Error('there is no such server')
  const content = { contentType: 'application/octet-stream', cacheControl: 'no-cache' }
  const uploadId = await server.uploads.create(caller, { bucket, name, content, share })
  return { bucket, name, uploadId }
}

/** What the backend has of versions, finished and unfinished. */
export async function storedIn(
  backend: ResumableBackend,
): Promise<{ versions: string[]; unfinished: number }> {
  const versions: string[] = []
  for await (const { location } of backend.list()) versions.push(location.version)
  let unfinished = 0
  for await (const _ of backend.unfinished()) unfinished++
  return { versions, unfinished }
}
