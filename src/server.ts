import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Logger } from 'pino'
import type { Backend } from './backend/backend.ts'
import { openBackends } from './backend/open.ts'
import type { Config } from './config.ts'
import type { Database } from './database/client.ts'
import { connectDatabase } from './database/connect.ts'
import { UploadSession } from './database/upload-session.ts'
import { type Events, openEvents } from './events/open.ts'
import { PublicChanges } from './events/public-changes.ts'
import { createApp } from './http/app.ts'
import { Connections } from './http/connections.ts'
import { createHttpServer, drainServer, listen } from './http/http-server.ts'
import { REALTIME_LIMITS, Realtime } from './http/realtime/realtime.ts'
import { TokenVerifier } from './http/token-verifier.ts'
import { type Keys, loadKeys } from './keys.ts'
import { affordableConnections } from './open-files.ts'
import type { Announce } from './storage/announced.ts'
import { BucketStorage } from './storage/bucket-storage.ts'
import { ByteCache } from './storage/byte-cache.ts'
import { FileStorage } from './storage/file-storage.ts'
import { Heartbeats } from './storage/heartbeats.ts'
import { refuseMissingFiles } from './storage/missing-files.ts'
import { ObjectLists } from './storage/object-lists.ts'
import { PublicObjects } from './storage/public-objects.ts'
import { ResumableUploads } from './storage/resumable-uploads.ts'
import { SignedUrls } from './storage/signed-urls.ts'
import { UploadLocks } from './storage/upload-locks.ts'
import { Turns } from './turns.ts'
import { OrphanCleanup } from './workers/orphan-cleanup.ts'
import { type Schedule, schedule } from './workers/schedule.ts'
import { Scrub } from './workers/scrub.ts'

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:8209`. */
  url: string
  keys: Keys
  /** Finishes the running requests, up to the limit of the settings, then stops the database in order. */
  close(): Promise<void>
}

export interface ServerOptions {
  config: Config
  logger: Logger
  /** Something is lost that the server cannot go on without. */
  onFatal(error: Error): void
  /** Another database than the settings say, for tests. Closed with the server. */
  database?: Database
}

/** The composition root: builds the parts, hands each what it needs, and starts to listen. */
export async function startServer({
  config,
  logger,
  onFatal,
  ...given
}: ServerOptions): Promise<RunningServer> {
  const dataDir = resolve(config.dataDir)
  const keys = await loadKeys(dataDir, { jwtSecret: config.jwt.secret, signingSecret: config.signingSecret })
  const database =
    given.database ??
    (await connectDatabase({
      databaseUrl: config.databaseUrl,
      dataDir,
      connections: config.databasePool,
      timeoutMs: config.limits.databaseMs,
      logger,
      onLost: onFatal,
    }))
  try {
    await refuseMissingFiles(config, database)
    const backend = await openBackends(config)
    const session = new UploadSession(database)
    const uploadLocks = new UploadLocks({ database, session, logger })
    const events = await openEvents({ config, database, logger })
    const { cacheSize } = config
    const publicObjects = cacheSize > 0 ? new PublicObjects(cacheSize * ROWS_SHARE) : undefined
    const byteCache = cacheSize > 0 ? new ByteCache(cacheSize * (1 - ROWS_SHARE)) : undefined
    const publicChanges =
      publicObjects && new PublicChanges({ database, outbox: events.outbox, objects: publicObjects, logger })
    const tokens = new TokenVerifier({ ...config.jwt, secret: keys.jwtSecret })
    const { supabaseCompat, corsOrigins, limits } = config
    const connections = openConnections(limits.connections, logger)
    const parts = {
      config,
      keys,
      backend,
      database,
      logger,
      uploadLocks,
      events,
      tokens,
      connections,
      publicObjects,
      byteCache,
    }
    const app = buildApp(parts)
    const { subscriptions } = events
    const realtime = new Realtime({
      tokens,
      subscriptions,
      logger,
      corsOrigins,
      supabaseCompat,
      limits: REALTIME_LIMITS,
    })
    const server = createHttpServer({ ...app, realtime, supabaseCompat, connections, limits, logger })
    const url = await listen(server, config)
    events.start()
    publicChanges?.start()
    const workers = startWorkers({ config, backend, database, logger })
    tryBackend(backend, logger)
    return {
      url,
      keys,
      close: async () => {
        uploadLocks.close()
        await Promise.all([
          events.close(),
          publicChanges?.close(),
          drainServer(server, connections, config.shutdownTimeoutMs, logger),
          realtime.close(),
          ...workers.map((worker) => worker.stop()),
        ])
        await events.outbox.close()
        await backend.close()
        await session.close()
        await database.close()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}

interface Parts {
  config: Config
  keys: Keys
  backend: Backend
  database: Database
  logger: Logger
  uploadLocks: UploadLocks
  events: Events
  tokens: TokenVerifier
  publicObjects: PublicObjects | undefined
  byteCache: ByteCache | undefined
  connections: Connections
}

function openConnections(wanted: number, logger: Logger): Connections {
  const most = affordableConnections(wanted)
  if (most < wanted) {
    logger.info(
      { most },
      'fewer connections than STORAGE_MAX_CONNECTIONS: each may need a file too (ulimit -n)',
    )
  }
  return new Connections(most)
}

function buildApp(parts: Parts) {
  const {
    config,
    keys,
    backend,
    database,
    logger,
    uploadLocks,
    events,
    tokens,
    connections,
    publicObjects,
    byteCache,
  } = parts
  const now = () => new Date()
  const { maxFileSize, verifyReads } = config
  const nameRules = config.supabaseCompat ? 'supabase' : 'default'
  const intervalMs = Math.max(config.cleanup.graceMs / HEARTBEATS_PER_GRACE, SHORTEST_HEARTBEAT_MS)
  const heartbeats = new Heartbeats({ database, logger, intervalMs })
  const announce: Announce = async (changes) => {
    for (const { bucket, names } of changes) {
      if (names === null) publicObjects?.dropBucket(bucket)
      else for (const name of names) publicObjects?.drop(bucket, name)
    }
    events.outbox.wake()
  }
  const files = new FileStorage({
    database,
    backend,
    logger,
    maxFileSize,
    nameRules,
    verifyReads,
    heartbeats,
    publicObjects,
    byteCache,
    announce,
    now,
  })
  const resumable = new ResumableUploads({
    database,
    backend,
    logger,
    maxFileSize,
    nameRules,
    lifetimeMs: config.tusExpiryMs,
    heartbeats,
    locks: uploadLocks,
    announce,
    now,
  })
  const buckets = new BucketStorage({ database, backend, logger, maxFileSize, announce })
  const previous = config.signingSecretPrevious
  const secrets: [string, ...string[]] = [keys.signingSecret, ...(previous === undefined ? [] : [previous])]
  const urls = new SignedUrls({ database, files, secrets, now })
  const checks = {
    database: atMostOncePerSecond(async () => void (await database.sql`select 1`)),
    backend: atMostOncePerSecond(() => backend.check()),
  }
  const { userBuckets, supabaseCompat, corsOrigins, publicUrl, trustProxy } = config
  return createApp(
    {
      files,
      lists: new ObjectLists(database),
      buckets,
      urls,
      resumable,
      tokens,
      events,
      keepAliveMs: config.eventsKeepAliveMs,
      connections,
      maxRequests: config.limits.requests,
      uploads: new Turns(config.limits.uploads, 'TooManyUploads'),
      checks,
      maxFileSize,
      userBuckets,
      supabaseCompat,
      corsOrigins,
      publicUrl,
      trustProxy,
      version: packageVersion(),
    },
    logger,
  )
}

/** Of the memory for what is read often, the part for rows; the rest is for bytes. */
const ROWS_SHARE = 0.25

/** A few may be lost without an upload being given up. */
const HEARTBEATS_PER_GRACE = 5
const SHORTEST_HEARTBEAT_MS = 100

/** A pass that was full has left something to do. In milliseconds. */
const SOON_MS = 10_000

function startWorkers({
  config,
  backend,
  database,
  logger,
}: Pick<Parts, 'config' | 'backend' | 'database' | 'logger'>): Schedule[] {
  const workers: Schedule[] = []
  const { intervalMs, graceMs } = config.cleanup
  if (intervalMs > 0) {
    const cleanup = new OrphanCleanup({ ...config.cleanup, database, backend, logger })
    const pass = async (signal: AbortSignal) => {
      const report = await cleanup.pass({ signal })
      return report?.isFull ? Math.min(SOON_MS, intervalMs) : intervalMs
    }
    // What a crash has left is old enough then.
    const firstAfterMs = Math.min(graceMs, intervalMs)
    workers.push(schedule('orphan-cleanup', pass, { firstAfterMs, afterFailureMs: intervalMs, logger }))
  }
  const { scrubIntervalMs } = config
  if (scrubIntervalMs > 0) {
    const scrub = new Scrub({ database, backend, logger })
    const step = (signal: AbortSignal) => scrub.step(scrubIntervalMs, signal)
    workers.push(schedule('scrub', step, { firstAfterMs: 60_000, afterFailureMs: 600_000, logger }))
  }
  return workers
}

/**
 * Says at once why a store does not work, and not only when the first upload fails. The start does not depend on it:
 * servers and stores come up in any order, and what is away for a moment comes back.
 */
function tryBackend(backend: Backend, logger: Logger): void {
  if (backend.isNear) return
  backend.check().catch((err) => {
    const reason = err instanceof Error && err.cause instanceof Error ? err.cause.message : String(err)
    logger.warn({ err }, `the store does not work: ${reason}`)
  })
}

/** What `package.json` says, as `1.2.3`. */
export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Health checks are open to anyone, and must not become work that anyone can cause. */
function atMostOncePerSecond(check: () => Promise<void>): () => Promise<void> {
  let last: { at: number; result: Promise<void> } | undefined
  return () => {
    if (!last || Date.now() - last.at > 1000) {
      const result = check()
      result.catch(() => {}) // told to whoever asks
      last = { at: Date.now(), result }
    }
    return last.result
  }
}
