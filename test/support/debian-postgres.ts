import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from '#postgres'
import { until } from './wait.ts'

/** The oldest PostgreSQL that Strongroom works with, as Debian's package `postgresql-15` installs it. */
export const DEBIAN_POSTGRES = '/usr/lib/postgresql/15/bin'
export const hasDebianPostgres = existsSync(join(DEBIAN_POSTGRES, 'initdb'))

export interface DebianPostgres {
  /** For a login with its password, over TCP on loopback. */
  url(database: string, login?: { user: string; password: string }): string
  /** The superuser, in the database `postgres`. */
  admin: postgres.Sql
  /** On loopback. */
  port: number
  stop(): Promise<void>
}

/**
 * A cluster of our own, on a free port, in a temporary folder.
 *
 * @param auth of pg_hba.conf: passwords, or `trust`
 */
export async function startDebianPostgres({ auth = 'scram-sha-256' } = {}): Promise<DebianPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'debian-postgres-'))
  const dataDir = join(folder, 'data')
  const password = randomBytes(12).toString('hex')
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  const account = systemAccount()
  if (account.uid !== undefined && account.gid !== undefined) {
    for (const path of [folder, passwordFile]) chownSync(path, account.uid, account.gid)
  }
  chmodSync(folder, 0o700)
  execFileSync(
    join(DEBIAN_POSTGRES, 'initdb'),
    [
      '-D',
      dataDir,
      '-U',
      'postgres',
      '-E',
      'UTF8',
      '--locale=C.UTF-8',
      '-A',
      auth,
      '--no-sync',
      '--pwfile',
      passwordFile,
    ],
    { ...account, cwd: folder, stdio: 'pipe', env: {} },
  )
  const port = await freePort()
  const settings = [
    'fsync=off',
    'full_page_writes=off',
    'max_connections=200',
    'jit=off', // compiling a query takes longer than any of the tests' runs
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=',
  ]
  const server = spawn(
    join(DEBIAN_POSTGRES, 'postgres'),
    ['-D', dataDir, ...settings.flatMap((setting) => ['-c', setting])],
    { ...account, cwd: folder, stdio: 'ignore', env: {} },
  )
  const exited = once(server, 'exit')
  const url: DebianPostgres['url'] = (database, login = { user: 'postgres', password }) =>
    `postgres://${login.user}:${login.password}@127.0.0.1:${port}/${database}`
  const stop = async () => {
    if (server.exitCode === null && server.signalCode === null) server.kill('SIGINT') // its fast shutdown
    await exited
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await until(() => isReady(dataDir) || server.exitCode !== null, 'PostgreSQL 15 is ready')
    if (server.exitCode !== null) throw new Error(`PostgreSQL 15 ended with status ${server.exitCode}`)
  } catch (error) {
    await stop()
    throw error
  }
  const admin = postgres(url('postgres'), { max: 2, onnotice: () => {} })
  return {
    url,
    admin,
    port,
    stop: async () => {
      await admin.end({ timeout: 5 })
      await stop()
    },
  }
}

/** The last line that the postmaster writes into its file, once it takes connections. */
function isReady(dataDir: string): boolean {
  const path = join(dataDir, 'postmaster.pid')
  return existsSync(path) && readFileSync(path, 'utf8').split('\n')[7]?.trim() === 'ready'
}

/** PostgreSQL refuses root; then it runs as the user that the package has made. */
function systemAccount(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no TCP port')
  return address.port
}
