import { readFileSync, writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { type Database, openDatabase } from '../../src/database/connection/client.ts'
import { type EmbeddedPostgres, startEmbedded } from '../../src/database/embedded/embedded-postgres.ts'
import { openEmbedded } from '../../src/database/opening/connect.ts'

const TEMPLATE = 'strongroom_template'

/** A PostgreSQL that a test may stop, and change the settings of. */
export interface OwnPostgres {
  /** As `inject('postgres')` has it. Stays the same over a stop and a start. */
  place: { host: string; port: number; superuser: string; template: string }
  /** The superuser, in no database of a test's. */
  root: Database
  /** PostgreSQL's main process. */
  readonly pid: number
  /** Breaks off all sessions. */
  stop(): Promise<void>
  start(): Promise<void>
  /** Puts a line before all others of pg_hba.conf, and returns what takes it away again. */
  addAccessRule(line: string): Promise<() => Promise<void>>
  /** Ends the sessions of the server's login. */
  endSessions(): Promise<void>
  /** Stops it and removes all it had. */
  remove(): Promise<void>
}

/** @param settings PostgreSQL settings by name */
export async function startOwnPostgres(settings: Record<string, string> = {}): Promise<OwnPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-postgres-'))
  await chmod(folder, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const logger = pino({ level: 'silent' })
  const launch = () =>
    startEmbedded({
      clusterDir: join(folder, 'postgres'),
      logger,
      settings: { fsync: 'off', full_page_writes: 'off', ...settings },
    })
  let running: EmbeddedPostgres | undefined = await launch()
  const { connection, superuser } = running
  const root = openDatabase({ ...connection, database: 'postgres', username: superuser }, { connections: 1 })
  await root.sql`create database ${root.sql(TEMPLATE)}`
  await (
    await openEmbedded({ ...connection, database: TEMPLATE }, superuser, { connections: 1 }, logger)
  ).close()
  const { host, port } = connection

  return {
    place: { host, port, superuser, template: TEMPLATE },
    root,
    get pid() {
      return running?.pid ?? 0
    },
    stop: async () => {
      await running?.stop()
      running = undefined
    },
    start: async () => {
      running = await launch()
    },
    addAccessRule: async (line) => {
      const [row] = await root.sql`show hba_file`
      const path = String(row?.hba_file)
      const before = readFileSync(path, 'utf8')
      writeFileSync(path, `${line}\n${before}`)
      await root.sql`select pg_reload_conf()`
      return async () => {
        writeFileSync(path, before)
        await root.sql`select pg_reload_conf()`
      }
    },
    endSessions: async () => {
      await root.sql`
        select pg_terminate_backend(pid) from pg_stat_activity where usename = 'strongroom_server'`
    },
    remove: async () => {
      await root.close()
      await running?.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
