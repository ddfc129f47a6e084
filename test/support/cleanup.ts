import { randomUUID } from 'node:crypto'
import { mkdir, stat, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import pino from 'pino'
import { openBackends } from '../../src/backend/open.ts'
import type { CleanupReport, CleanupSettings, Repair } from '../../src/jobs/cleanup/pass.ts'
import { type CleanupRequest, OrphanCleanup } from '../../src/jobs/orphan-cleanup.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import type { TestServer } from './server.ts'

/** Nothing is too young, no bucket is too small to be repaired, and nobody is to be spared: what most tests are not about. */
const EAGER = { graceMs: 0, batch: 1000, maxShare: 1, restPerWork: 0, eventsKeptMs: 7 * 86_400_000 }

type Wanted = CleanupRequest & { settings?: Partial<CleanupSettings> }

/** One pass of the cleanup over what a test server has, as another server beside it would make. */
export async function cleanUp(server: TestServer, wanted: Wanted = {}): Promise<CleanupReport> {
  const report = await tryCleanUp(server, wanted)
  if (report === null) throw new Error('somebody else is cleaning up')
  return report
}

/** The same; null when somebody else is cleaning up, or was, and PostgreSQL has not noticed that his connection was cut. */
export async function tryCleanUp(
  server: TestServer,
  { settings = {}, ...request }: Wanted = {},
): Promise<CleanupReport | null> {
  const backend = new InlineBackend(await openBackends(server.config), server.database)
  const logger = pino({ level: 'silent' })
  const cleanup = new OrphanCleanup({ ...EAGER, ...settings, database: server.database, backend, logger })
  return cleanup.pass(request).finally(() => backend.close())
}

/** The repairs that a pass has made, without those that it has not. */
export function repairsOf({ repairs }: CleanupReport): Partial<Record<Repair, number>> {
  return Object.fromEntries(Object.entries(repairs).filter(([, count]) => count > 0))
}

/** The UUID under which a bucket's bytes are. */
export async function uidOf(server: TestServer, bucket: string): Promise<string> {
  const [row] = await server.admin`select uid from storage.buckets where id = ${bucket}`
  return String(row?.uid)
}

/** Where the file of an object is. */
export async function fileOf(server: TestServer, bucket: string, name: string): Promise<string> {
  const [row] = await server.admin`
    select o.version, coalesce(o.bytes_bucket, b.uid) as uid
    from storage.objects o join storage.buckets b on b.id = o.bucket_id
    where o.bucket_id = ${bucket} and o.name = ${name}`
  return pathOf(server, String(row?.uid), String(row?.version))
}

/** Puts a file into the backend's folder that nothing names. Returns its path. */
export async function plantFile(
  server: TestServer,
  uid: string,
  { version = randomUUID(), ageMs = 0 }: { version?: string; ageMs?: number } = {},
): Promise<string> {
  const path = pathOf(server, uid, version)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, 'nobody knows me')
  const time = new Date(Date.now() - ageMs)
  await utimes(path, time, time)
  return path
}

export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Where the file of a version is. */
export function pathOf(server: TestServer, uid: string, version: string): string {
  return join(server.dataDir, 'objects', uid, version.slice(0, 2), version)
}
