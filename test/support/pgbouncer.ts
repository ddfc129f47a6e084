import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import postgres from '#postgres'
import { type Daemon, removeAtEnd, startDaemon } from './daemon.ts'
import { freePort } from './free-port.ts'
import { describeWith } from './installed.ts'
import { until } from './wait.ts'

/** Debian installs it where only root's PATH looks. */
const PROGRAM = '/usr/sbin/pgbouncer'

/** Runs `suite` where there is a `pgbouncer`; skips it, by its name, elsewhere. */
export function describeWithPgbouncer(name: string, suite: () => void): void {
  describeWith(PROGRAM, name, suite)
}

export type PoolMode = 'session' | 'transaction' | 'statement'

/** A real PgBouncer before the run's own PostgreSQL. */
export interface Pgbouncer {
  /** For DATABASE_URL. */
  url(database: string, user?: string): string
  /** Kills it, and starts it again on the same port, in another mode perhaps. */
  restart(mode?: PoolMode): Promise<void>
  /** Another client of it, with so many connections, all in `database`. */
  client(database: string, connections: number): postgres.Sql
  /** Ends it and its clients, and removes all it had. */
  remove(): Promise<void>
}

/** @param settings lines of its configuration, by name */
export async function startPgbouncer(
  mode: PoolMode,
  settings: Record<string, string | number> = {},
): Promise<Pgbouncer> {
  const { host, port: upstream } = inject('postgres')
  const folder = mkdtempSync(join(tmpdir(), 'strongroom-pgbouncer-'))
  chmodSync(folder, 0o755) // it refuses root, and runs as another user
  const removeFolder = removeAtEnd(folder)
  const port = await freePort()
  const config = join(folder, 'pgbouncer.ini')
  const users = join(folder, 'users.txt')
  writeFileSync(users, '"strongroom_server" ""\n"postgres" ""\n')
  const clients: postgres.Sql[] = []
  let daemon: Daemon | undefined

  async function start(mode: PoolMode): Promise<void> {
    const lines = Object.entries({
      listen_addr: '127.0.0.1',
      listen_port: port,
      unix_socket_dir: '',
      auth_type: 'trust',
      auth_file: users,
      pool_mode: mode,
      default_pool_size: 40,
      max_client_conn: 1000,
      ...settings,
    }).map(([name, value]) => `${name} = ${value}`)
    writeFileSync(
      config,
      `[databases]\n* = host=${host} port=${upstream}\n[pgbouncer]\n${lines.join('\n')}\n`,
    )
    const asOther = ['--reuid=postgres', '--regid=postgres', '--clear-groups', '--pdeathsig', 'KILL']
    const running =
      process.getuid?.() === 0
        ? await startDaemon('setpriv', [...asOther, PROGRAM, config], join(folder, 'log'))
        : await startDaemon(PROGRAM, [config], join(folder, 'log'))
    daemon = running
    await until(async () => {
      if (running.hasEnded) throw new Error(`pgbouncer has ended: ${running.lastWords()}`)
      return answers()
    }, 'pgbouncer answers')
  }

  const url: Pgbouncer['url'] = (database, user = 'strongroom_server') =>
    `postgres://${user}@127.0.0.1:${port}/${database}`

  async function answers(): Promise<boolean> {
    const sql = postgres(url('postgres', 'postgres'), { max: 1, fetch_types: false, connect_timeout: 2 })
    return sql
      .unsafe('select 1')
      .then(
        () => true,
        () => false,
      )
      .finally(() => sql.end({ timeout: 1 }))
  }

  async function remove(): Promise<void> {
    await Promise.all(clients.map((client) => client.end({ timeout: 1 })))
    await daemon?.kill()
    await removeFolder()
  }
  await start(mode).catch(async (error: unknown) => {
    await remove()
    throw error
  })
  return {
    url,
    restart: async (next = mode) => {
      await daemon?.kill()
      await start(next)
    },
    client: (database, connections) => {
      const client = postgres(url(database), { max: connections, prepare: false, fetch_types: false })
      clients.push(client)
      return client
    },
    remove,
  }
}
