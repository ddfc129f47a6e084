import { existsSync } from 'node:fs'
import { realpath, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Logger } from 'pino'
import type postgres from '#postgres'
import { type Database, openDatabase } from '../connection/client.ts'
import type { Endpoint } from '../connection/place.ts'
import { type CopyReport, copyDatabase, type DatabaseCopy } from '../dump/copy-database.ts'
import { DumpError } from '../dump/dump-error.ts'
import { type EmbeddedPostgres, startEmbedded } from '../embedded/embedded-postgres.ts'
import { markMoved, movedTo, nextCluster, swapIn } from '../embedded/next-cluster.ts'
import { MigrationError, migrate } from '../migrations/migrate.ts'
import { openEmbedded } from './connect.ts'
import { findPlace } from './find-place.ts'
import { openEmbeddedTables, openTables } from './open-for-rows.ts'

export interface DatabaseMove extends Pick<DatabaseCopy, 'writeDefinitions' | 'onProgress' | 'signal'> {
  /** DATABASE_URL and STORAGE_DATABASE_DIRECT_URL, if it is there; else it is the embedded one. */
  databaseUrl: string | undefined
  databaseDirectUrl: string | undefined
  /** Where the embedded one is, in `postgres/`. */
  dataDir: string
  /** A URL, or the embedded one. */
  to: string
  /** The package of the PostgreSQL that the embedded cluster was made by, when that is of another major version. */
  packageDir?: string | undefined
  logger: Logger
}

export interface MoveReport extends CopyReport {
  /** Where the former cluster is, if it was an embedded one. */
  former: string | undefined
}

export const EMBEDDED = 'embedded'

/**
 * Moves all that a database has of ours into a new one, while no server runs: from the embedded one to a PostgreSQL of the
 * operator's own, back, or from one major version of the embedded one to the next. The old one stays as it was; an embedded
 * one has a mark then, by which no server goes on with it by mistake.
 *
 * @throws DumpError, EmbeddedPostgresError, MigrationError, StorageError
 */
export async function moveDatabase(options: DatabaseMove): Promise<MoveReport> {
  const place = resolve(options.dataDir, 'postgres')
  const folder = existsSync(place) ? await realpath(place) : place
  const source = await openSource(options, place)
  const target = options.to === EMBEDDED ? new EmbeddedTarget(folder, options) : new UrlTarget(options)
  let report: CopyReport
  try {
    await target.refuseTaken(options.databaseUrl !== undefined)
    report = await copyDatabase({
      ...options,
      source: source.database,
      openTarget: (schema) => target.open(schema),
    })
    await target.finish()
  } finally {
    await target.close()
    await source.close()
  }
  if (options.to === EMBEDDED) return { ...report, former: await swapIn(folder) }
  if (options.databaseUrl !== undefined) return { ...report, former: undefined }
  await markMoved(folder, 'another PostgreSQL')
  return { ...report, former: folder }
}

/** Not migrated: it stays as it is. */
async function openSource(
  { databaseUrl, databaseDirectUrl, packageDir, logger }: DatabaseMove,
  clusterDir: string,
): Promise<{ database: Database; close(): Promise<void> }> {
  if (databaseUrl !== undefined) {
    const database = openDatabase(await findPlace(databaseUrl, databaseDirectUrl), { connections: 1 })
    return { database, close: () => database.close() }
  }
  if (!existsSync(clusterDir))
    throw new DumpError(`There is no database in ${clusterDir} that could be moved`)
  const embedded = await startEmbedded({
    clusterDir,
    logger,
    ...(packageDir && { overrides: { packageDir } }),
  })
  const database = openDatabase({ ...embedded.connection, username: embedded.superuser }, { connections: 1 })
  const close = async () => {
    await database.close()
    await embedded.stop()
  }
  return { database, close }
}

interface Target {
  /** @throws DumpError when something is there already */
  refuseTaken(isFromUrl: boolean): Promise<void>
  open(schema: string): Promise<postgres.Sql>
  /** Makes what is not there yet of a newer schema than that of the rows. */
  finish(): Promise<void>
  close(): Promise<void>
}

class UrlTarget implements Target {
  readonly #options: DatabaseMove
  #sessions: Endpoint | undefined
  #sql: postgres.Sql | undefined

  constructor(options: DatabaseMove) {
    this.#options = options
  }

  async refuseTaken(): Promise<void> {
    const place = await aboutTarget(() => findPlace(this.#options.to, undefined))
    this.#sessions = place.sessions
  }

  async open(schema: string): Promise<postgres.Sql> {
    const sessions = this.#sessions as Endpoint // refuseTaken came first
    this.#sql = await aboutTarget(() => openTables(sessions, schema, this.#options.logger))
    return this.#sql
  }

  async finish(): Promise<void> {
    await aboutTarget(() => migrate(this.#sessions as Endpoint, this.#options.logger))
  }

  async close(): Promise<void> {
    await this.#sql?.end({ timeout: 1 })
  }
}

/** Says what is wrong of the option that names the target, and not of the setting that such a URL is mostly in. */
async function aboutTarget<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error
    throw new MigrationError(error.message.replaceAll('DATABASE_URL', '--to'), { cause: error })
  }
}

/** Beside the cluster that is there, whose place it takes in the end. */
class EmbeddedTarget implements Target {
  readonly #folder: string
  readonly #logger: Logger
  #embedded: EmbeddedPostgres | undefined
  #sql: postgres.Sql | undefined

  constructor(folder: string, { logger }: DatabaseMove) {
    this.#folder = folder
    this.#logger = logger
  }

  async refuseTaken(isFromUrl: boolean): Promise<void> {
    if (!isFromUrl || !existsSync(this.#folder) || (await movedTo(this.#folder)) !== undefined) return
    throw new DumpError(
      `There is a database in ${this.#folder} already: move that folder away first, or set another STORAGE_DATA_DIR`,
    )
  }

  async open(schema: string): Promise<postgres.Sql> {
    const clusterDir = nextCluster(this.#folder)
    const start = () => startEmbedded({ clusterDir, logger: this.#logger })
    if (existsSync(clusterDir)) await removeLeftover(clusterDir, start)
    this.#embedded = await start()
    this.#sql = await openEmbeddedTables(this.#embedded, schema, this.#logger)
    return this.#sql
  }

  async finish(): Promise<void> {
    const { connection, superuser } = this.#embedded as EmbeddedPostgres // opened
    const opened = await openEmbedded(connection, superuser, { connections: 1 }, this.#logger)
    await opened.close()
  }

  async close(): Promise<void> {
    await this.#sql?.end({ timeout: 1 })
    await this.#embedded?.stop()
  }
}

/** What a killed move has left, which may have all rows by then, and a PostgreSQL that runs on. @param start takes it over */
async function removeLeftover(clusterDir: string, start: () => Promise<EmbeddedPostgres>): Promise<void> {
  await (await start()).stop()
  await rm(await realpath(clusterDir), { recursive: true, force: true })
  await rm(clusterDir, { force: true }) // a link, if it is one
}
