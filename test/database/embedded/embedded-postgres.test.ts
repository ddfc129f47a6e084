import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import postgres from '#postgres'
import { EmbeddedPostgresError } from '../../../src/database/embedded/embedded-error.ts'
import {
  type EmbeddedOptions,
  type EmbeddedPostgres,
  startEmbedded,
} from '../../../src/database/embedded/embedded-postgres.ts'
import {
  isPostmasterOf,
  readPostmasterFile,
  stopPostmaster,
} from '../../../src/database/embedded/postmaster.ts'
import { allows, READ, SEARCH } from '../../../src/database/embedded/system-account.ts'

const require = createRequire(import.meta.url)
const PACKAGE = dirname(dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)))
/** Skipped elsewhere because only root can give folders away and run processes as another user. */
const itAsRoot = it.skipIf(process.getuid?.() !== 0)
const NOBODY = { uid: 65534, gid: 65534 }
const FAST = { fsync: 'off' }

/** A folder of ours that every user may enter, for all tests of this file. */
const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'embedded-test-')))
chmodSync(scratch, 0o755)
/** A finished cluster with a table; tests that do not care how one is made start from a copy. */
const template = join(scratch, 'template')

/** Until it happens; no test depends on how long that takes. */
const PATIENTLY = { timeout: 90_000 }

let folders = 0
let servers: EmbeddedPostgres[] = []
let clients: postgres.Sql[] = []
let children: ChildProcess[] = []
let clusters: string[] = []

beforeAll(async () => {
  const server = await start(template)
  await query(server)`create table kept (note text)`
  await query(server)`insert into kept values ('first')`
  await leaveNothing()
})
afterEach(leaveNothing)
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe('the first start', () => {
  it('makes a database that answers, on a socket only its user can reach', async () => {
    const clusterDir = newFolder('postgres')
    const server = await start(clusterDir)
    const [row] = await query(
      server,
    )`select current_database() as name, current_setting('server_encoding') as encoding,
      current_setting('listen_addresses') as tcp, current_setting('data_checksums') as checksums,
      (select datlocale from pg_database where datname = current_database()) as locale`
    expect(row).toEqual({ name: 'strongroom', encoding: 'UTF8', tcp: '', checksums: 'on', locale: 'C.UTF-8' })
    expect(statSync(clusterDir).mode & 0o777).toBe(0o700)
    expect(server.connection.host).toBe(clusterDir)
  })

  it('leaves no half-made folder behind, not even that of a start that was killed', async () => {
    const clusterDir = newFolder('postgres')
    const leftover = `${clusterDir}.new-${await pidOfTheDead()}`
    mkdirSync(leftover)
    writeFileSync(join(leftover, 'PG_VERSION'), '18\n')
    await start(clusterDir)
    expect(readdirSync(dirname(clusterDir))).toEqual(['postgres'])
  })

  it('lets exactly one of two servers that start together have the folder', async () => {
    const clusterDir = newFolder('postgres')
    const both = await Promise.all([startInChild(clusterDir), startInChild(clusterDir)])
    const winners = both.filter(({ error }) => error === undefined)
    const losers = both.filter(({ error }) => error?.startsWith('Another Strongroom'))
    expect([winners.length, losers.length]).toEqual([1, 1])
    for (const winner of winners) expect(await notes(winner, 'select 1')).toHaveLength(1)
  })

  it('refuses a folder with something else in it, and touches nothing', async () => {
    const clusterDir = newFolder('postgres')
    mkdirSync(clusterDir)
    writeFileSync(join(clusterDir, 'thesis.txt'), 'years of work')
    await expect(start(clusterDir)).rejects.toThrow('neither empty nor a database')
    expect(readdirSync(clusterDir)).toEqual(['thesis.txt'])
  })
})

describe('the next start', () => {
  it('finds what was written before', async () => {
    const clusterDir = newCluster()
    const first = await start(clusterDir)
    await query(first)`insert into kept values ('second')`
    await first.stop()
    await first.stop() // twice is harmless
    expect(await isPostmasterOf(first.pid, clusterDir)).toBe(false)
    expect(await notes(await start(clusterDir))).toEqual(['first', 'second'])
  })

  it('closes a folder that others were given access to', async () => {
    const clusterDir = newCluster()
    chmodSync(clusterDir, 0o755)
    await start(clusterDir)
    expect(statSync(clusterDir).mode & 0o777).toBe(0o700)
  })

  it('refuses the data of another PostgreSQL version', async () => {
    const clusterDir = newCluster()
    writeFileSync(join(clusterDir, 'PG_VERSION'), '17\n')
    await expect(start(clusterDir)).rejects.toThrow(/made by PostgreSQL 17, and this is PostgreSQL 18/)
  })

  it('tells what PostgreSQL said when it cannot start', async () => {
    const started = start(newCluster(), { settings: { ...FAST, shared_buffers: 'plenty' } })
    await expect(started).rejects.toThrow(/invalid value for parameter "shared_buffers": "plenty"/)
  })
})

describe('the binaries', () => {
  it('run where they are if they have their library links', async () => {
    const cacheDir = newFolder('cache')
    const server = await start(newCluster(), { overrides: { cacheDir } })
    expect(await notes(server)).toEqual(['first'])
    expect(existsSync(cacheDir)).toBe(false)
  })

  it('run from a copy if they have not: nothing is written where they were installed', async () => {
    const packageDir = copyOfPackage(newFolder('package'))
    const cacheDir = newFolder('cache')
    mkdirSync(cacheDir)
    chmodSync(cacheDir, 0o755)
    const installed = readdirSync(join(packageDir, 'native/lib'))
    const server = await start(newCluster(), { overrides: { packageDir, cacheDir } })
    expect(await notes(server)).toEqual(['first'])
    expect(readdirSync(join(packageDir, 'native/lib'))).toEqual(installed)
    expect(readdirSync(cacheDir)).toEqual([copyName(packageDir)])
  })

  itAsRoot('run from a copy when their user cannot read the package', async () => {
    const lockedFolder = newFolder('locked')
    mkdirSync(lockedFolder, { mode: 0o700 })
    const packageDir = copyOfPackage(join(lockedFolder, 'package'))
    const cacheDir = newFolder('cache')
    mkdirSync(cacheDir)
    chmodSync(cacheDir, 0o755)
    mkdirSync(join(cacheDir, `${copyName(packageDir)}.new-${await pidOfTheDead()}`))
    const clusterDir = newCluster()

    const first = await start(clusterDir, { overrides: { packageDir, cacheDir } })
    expect(await notes(first)).toEqual(['first'])
    await first.stop()
    expect(readdirSync(cacheDir)).toEqual([copyName(packageDir)])

    // The copy is used again, not made again.
    const made = statSync(join(cacheDir, copyName(packageDir))).ino
    expect(await notes(await start(clusterDir, { overrides: { packageDir, cacheDir } }))).toEqual(['first'])
    expect(statSync(join(cacheDir, copyName(packageDir))).ino).toBe(made)
  })

  itAsRoot('are not run from a copy that somebody else could have made', async () => {
    const lockedFolder = newFolder('locked')
    mkdirSync(lockedFolder, { mode: 0o700 })
    const packageDir = copyOfPackage(join(lockedFolder, 'package'))
    const cacheDir = newFolder('cache')
    const planted = join(cacheDir, copyName(packageDir))
    mkdirSync(planted, { recursive: true })
    chownSync(planted, 12345, 12345)
    await expect(start(newCluster(), { overrides: { packageDir, cacheDir } })).rejects.toThrow(
      'belongs to someone else',
    )
  })

  it('that are not installed are missed in plain words', async () => {
    const packageDir = newFolder('nothing')
    await expect(start(newCluster(), { overrides: { packageDir } })).rejects.toThrow('set DATABASE_URL')
  })

  it('that the system has no loader for are missed in plain words', async () => {
    const packageDir = copyOfPackage(newFolder('package'))
    writeFileSync(join(packageDir, 'native/bin/postgres'), '#!/lib/ld-musl-has-no-glibc\n')
    const overrides = { packageDir, cacheDir: newFolder('cache') }
    await expect(start(newCluster(), { overrides })).rejects.toThrow('needs glibc')
  })
})

describe('the place of the data', () => {
  itAsRoot('moves where its user can reach it, and a link stays', async () => {
    const lockedFolder = newFolder('locked')
    mkdirSync(lockedFolder, { mode: 0o700 })
    const clusterDir = join(lockedFolder, 'data/postgres')
    const libraryDir = newFolder('library')
    const logger = { info: vi.fn(), warn: vi.fn() }

    const first = await start(clusterDir, { overrides: { libraryDir }, logger })
    await query(first)`create table kept as select 'first' as note`
    await first.stop()
    expect(lstatSync(clusterDir).isSymbolicLink()).toBe(true)
    expect(dirname(realpathSync(clusterDir))).toBe(libraryDir)
    expect(logger.info).toHaveBeenCalledWith(
      expect.anything(),
      expect.stringContaining(realpathSync(clusterDir)),
    )
    const second = await start(clusterDir, { overrides: { libraryDir } })
    expect(await notes(second)).toEqual(['first'])
    await second.stop()

    // A new data folder in the old one's place does not inherit its database.
    renameSync(dirname(clusterDir), join(lockedFolder, 'moved'))
    const fresh = await start(clusterDir, { overrides: { libraryDir } })
    expect(await notes(fresh, "select 1 from pg_class where relname = 'kept'")).toEqual([])
    expect(
      await notes(await start(join(lockedFolder, 'moved/postgres'), { overrides: { libraryDir } })),
    ).toEqual(['first'])
    // Whose it is, is said beside it.
    const placeOf = (cluster: string) => readFileSync(`${realpathSync(cluster)}.place`, 'utf8')
    for (const cluster of [clusterDir, join(lockedFolder, 'moved/postgres')]) {
      expect(placeOf(cluster)).toBe(`${realpathSync(dirname(cluster))}/postgres\n`)
    }
  })

  itAsRoot('is reached by the owner of an existing cluster, whoever that is', async () => {
    const clusterDir = newCluster()
    execFileSync('chown', ['-R', 'nobody', clusterDir])
    const server = await start(clusterDir)
    expect(await notes(server)).toEqual(['first'])
    expect(statSync(`/proc/${server.pid}`).uid).toBe(statSync(clusterDir).uid)
  })

  itAsRoot('is given back to its user after a careless chown', async () => {
    const clusterDir = newCluster()
    execFileSync('chown', ['-R', 'root', clusterDir])
    expect(await notes(await start(clusterDir))).toEqual(['first'])
    expect(statSync(join(clusterDir, 'base')).uid).not.toBe(0)
  })

  it('may be a link, but not one that leads nowhere', async () => {
    const clusterDir = newCluster()
    const link = newFolder('link')
    symlinkSync(clusterDir, link)
    expect(await notes(await start(link))).toEqual(['first'])

    const broken = newFolder('broken')
    symlinkSync(join(scratch, 'not-mounted'), broken)
    await expect(start(broken)).rejects.toThrow('a folder that is not there')
  })

  it('may be too long for a socket', async () => {
    const clusterDir = newCluster('long'.repeat(30))
    const server = await start(clusterDir)
    expect(await notes(server)).toEqual(['first'])
    expect(statSync(server.connection.host).mode & 0o777).toBe(0o700)
    await server.stop()

    // Somebody could wait there for our connections.
    rmSync(server.connection.host, { recursive: true })
    symlinkSync(newFolder('trap'), server.connection.host)
    await expect(start(clusterDir)).rejects.toThrow('should be a private folder')
    rmSync(server.connection.host)
  })

  it('may have blanks, commas and quotes in its name', async () => {
    expect(await notes(await start(newCluster(`it's "mine", really`)))).toEqual(['first'])
  })
})

describe('a server that was killed', () => {
  it('leaves a database that the next one takes over with all that was acknowledged', async () => {
    const clusterDir = newCluster()
    const killed = await startInChild(clusterDir)
    await notes(killed, `insert into kept values ('acknowledged') returning note`)
    await kill(killed.child, 'SIGKILL')
    expect(await isPostmasterOf(killed.postgresPid, clusterDir)).toBe(true)

    const next = await start(clusterDir)
    expect(next.pid).not.toBe(killed.postgresPid)
    expect(await isPostmasterOf(killed.postgresPid, clusterDir)).toBe(false)
    expect(await notes(next)).toEqual(['first', 'acknowledged'])
  })

  it('together with its database loses nothing that was acknowledged', async () => {
    const clusterDir = newCluster()
    const killed = await startInChild(clusterDir)
    await notes(killed, `insert into kept values ('acknowledged') returning note`)
    process.kill(killed.child.pid ?? 0, 'SIGKILL')
    process.kill(killed.postgresPid, 'SIGKILL')
    expect(await notes(await start(clusterDir))).toEqual(['first', 'acknowledged'])
  })

  it('leaves sessions that still compute, which the next one waits for', async () => {
    const clusterDir = newCluster()
    const killed = await startInChild(clusterDir)
    const busy = query(killed)
    const [session] = await busy`select pg_backend_pid() as pid`
    busy`select count(*) from generate_series(1, 10_000_000)`.catch(() => {})
    await vi.waitFor(async () => {
      const [now] = await query(killed)`select state from pg_stat_activity where pid = ${session?.pid}`
      expect(now?.state).toBe('active')
    }, PATIENTLY)
    process.kill(killed.child.pid ?? 0, 'SIGKILL')
    process.kill(killed.postgresPid, 'SIGKILL')
    expect(await notes(await start(clusterDir))).toEqual(['first'])
  })

  it('by Ctrl-C does not take its database with it', async () => {
    const clusterDir = newCluster()
    const server = await startInChild(clusterDir)
    process.kill(-(server.child.pid ?? 0), 'SIGINT') // the whole group, as a terminal does
    await exitOf(server.child)
    expect(await notes(server)).toEqual(['first'])
  })

  it('leaves a pid that now is nobody', async () => {
    const clusterDir = newCluster()
    leavePidFile(clusterDir, await pidOfTheDead())
    expect(await notes(await start(clusterDir))).toEqual(['first'])
  })

  it("leaves a pid that now is a stranger's, who is left alone", async () => {
    const clusterDir = newCluster()
    const { uid, gid } = statSync(clusterDir)
    const stranger = track(spawn('sleep', ['600'], process.getuid?.() === 0 ? { uid, gid } : {}))
    await once(stranger, 'spawn')
    leavePidFile(clusterDir, stranger.pid ?? 0)
    expect(await notes(await start(clusterDir))).toEqual(['first'])
    expect(stranger.exitCode ?? stranger.signalCode).toBe(null)
  })

  it('by a power failure leaves an empty pid file', async () => {
    const clusterDir = newCluster()
    writeFileSync(join(clusterDir, 'postmaster.pid'), '')
    expect(await notes(await start(clusterDir))).toEqual(['first'])
  })
})

describe('a second server on one folder', () => {
  it('is refused with the pid of the first, which notices nothing', async () => {
    const clusterDir = newCluster()
    const first = await startInChild(clusterDir)
    const second = start(clusterDir)
    await expect(second).rejects.toThrow(EmbeddedPostgresError)
    await expect(second).rejects.toThrow(
      `Another Strongroom (pid ${first.child.pid}) already uses ${clusterDir}`,
    )
    expect(await notes(first)).toEqual(['first'])
    expect(await isPostmasterOf(first.postgresPid, clusterDir)).toBe(true)
  })
})

describe('a database that breaks down', () => {
  it('is started again at the same address after a kill -9', async () => {
    const clusterDir = newCluster()
    const logger = { info: vi.fn(), warn: vi.fn() }
    const server = await start(clusterDir, { logger })
    const killedPid = server.pid
    const application = query(server)
    await application`insert into kept values ('acknowledged')`

    process.kill(killedPid, 'SIGKILL')
    await vi.waitFor(() => expect(server.pid).not.toBe(killedPid), PATIENTLY)
    await vi.waitFor(
      async () => expect(await noteRows(application)).toEqual(['first', 'acknowledged']),
      PATIENTLY,
    )
    expect(logger.warn).toHaveBeenCalled()
    await vi.waitFor(
      async () => expect(await lockHolders(server)).toEqual([`strongroom ${process.pid}`]),
      PATIENTLY,
    )
    await server.stop()
    expect(await readPostmasterFile(clusterDir)).toBe(undefined)
  })

  it('still belongs to its server after one of its sessions crashed', async () => {
    const clusterDir = newCluster()
    const server = await start(clusterDir)
    const [session] = await query(server)`select pg_backend_pid() as pid`
    const [lock] = await query(server)`select pid from pg_locks where locktype = 'advisory'`
    process.kill(session?.pid, 'SIGKILL') // PostgreSQL then restarts all sessions, the lock's too
    await vi.waitFor(async () => {
      const [now] = await query(server)`select pid from pg_locks where locktype = 'advisory'`
      expect(now?.pid).toBeGreaterThan(0)
      expect(now?.pid).not.toBe(lock?.pid)
    }, PATIENTLY)
    expect((await startInChild(clusterDir)).error).toContain(`Another Strongroom (pid ${process.pid})`)
  })

  it('can be stopped while it is being brought back', async () => {
    const clusterDir = newCluster()
    const logger = { info: vi.fn(), warn: vi.fn() }
    const server = await start(clusterDir, { logger })
    process.kill(server.pid, 'SIGKILL')
    await vi.waitFor(() => expect(logger.warn).toHaveBeenCalled(), PATIENTLY)
    await server.stop()
    expect(await isPostmasterOf(server.pid, clusterDir)).toBe(false)
  })

  it('is given up when another server has taken the folder', async () => {
    const clusterDir = newCluster()
    const onLost = vi.fn()
    const server = await start(clusterDir, { onLost })
    // Our session ends as an administrator might end it, and another server is quicker than we.
    const rival = query(server, `strongroom ${process.ppid}`)
    const taken = rival`select pg_advisory_lock(classid::int, objid::int) from pg_locks where locktype = 'advisory'`
    taken.catch(() => {})
    await vi.waitFor(async () => expect(await lockHolders(server)).toHaveLength(2), PATIENTLY)
    await query(
      server,
    )`select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted`
    await taken
    await vi.waitFor(() => expect(onLost).toHaveBeenCalledTimes(1), PATIENTLY)
    expect(onLost.mock.calls[0]?.[0].message).toContain(`Another Strongroom (pid ${process.ppid})`)
  })
})

describe('a server without root', () => {
  itAsRoot('runs PostgreSQL as itself, with the library links in a copy', async () => {
    const dataDir = newFolder('data')
    mkdirSync(dataDir)
    chownSync(dataDir, NOBODY.uid, NOBODY.gid)
    const packageDir = copyOfPackage(newFolder('package')) // no links, and not writable for this user
    const clusterDir = join(dataDir, 'postgres')
    const server = await startInChild(clusterDir, { packageDir, as: NOBODY })
    expect(await notes(server, 'select 1')).toHaveLength(1)
    expect(statSync(`/proc/${server.postgresPid}`).uid).toBe(NOBODY.uid)
    expect(readdirSync(dataDir).sort()).toEqual(['postgres', copyName(packageDir)])
  })

  itAsRoot("refuses another user's folder in plain words", async () => {
    const clusterDir = newFolder('postgres')
    cpSync(template, clusterDir, { recursive: true }) // belongs to root
    chmodSync(clusterDir, 0o755)
    const server = await startInChild(clusterDir, { as: NOBODY })
    expect(server.error).toContain('belongs to user 0')
  })
})

describe('what mode bits allow', () => {
  const account = { uid: 1000, gid: 100 }
  it.each([
    ['the owner', { uid: 1000, gid: 0, mode: 0o40700 }, true],
    ['the owner who took it from himself', { uid: 1000, gid: 100, mode: 0o40077 }, false],
    ['the group', { uid: 0, gid: 100, mode: 0o40710 }, true],
    ['the group that others are preferred to', { uid: 0, gid: 100, mode: 0o40701 }, false],
    ['anybody', { uid: 0, gid: 0, mode: 0o40711 }, true],
    ['nobody else', { uid: 0, gid: 0, mode: 0o40700 }, false],
  ])('search for %s', (_who, file, allowed) => {
    expect(allows(file, account, SEARCH)).toBe(allowed)
  })

  it('everything for root, and only both bits when both are wanted', () => {
    expect(allows({ uid: 1000, gid: 1000, mode: 0 }, { uid: 0, gid: 0 }, READ)).toBe(true)
    expect(allows({ uid: 0, gid: 0, mode: 0o644 }, account, READ | SEARCH)).toBe(false)
  })
})

async function start(clusterDir: string, options: Partial<EmbeddedOptions> = {}): Promise<EmbeddedPostgres> {
  clusters.push(clusterDir)
  const logger = { info() {}, warn() {} }
  // Never the system's own folders, wherever the temporary files are.
  const overrides = {
    cacheDir: join(scratch, 'cache'),
    libraryDir: join(scratch, 'library'),
    ...options.overrides,
  }
  const server = await startEmbedded({ clusterDir, logger, settings: FAST, ...options, overrides })
  servers.push(server)
  return server
}

interface ChildServer {
  child: ChildProcess
  postgresPid: number
  connection: EmbeddedPostgres['connection']
  error?: string
}

/** A server in a process of its own, from the build, so that it can be killed; it lives until then. */
const SERVER_SCRIPT = `
  const [module, clusterDir, packageDir] = process.argv.slice(1)
  const { startEmbedded } = await import(module)
  const logger = { info() {}, warn() {} }
  const overrides = packageDir ? { packageDir } : {}
  try {
    const server = await startEmbedded({ clusterDir, logger, overrides, settings: { fsync: 'off' } })
    console.log(JSON.stringify({ postgresPid: server.pid, connection: server.connection }))
  } catch (error) {
    console.log(JSON.stringify({ error: error.name === 'Error' ? error.stack : error.message }))
  }`

async function startInChild(
  clusterDir: string,
  { packageDir = '', as = {} }: { packageDir?: string; as?: { uid?: number; gid?: number } } = {},
): Promise<ChildServer> {
  clusters.push(clusterDir)
  const module = new URL('../../../dist/database/embedded/embedded-postgres.js', import.meta.url).href
  const args = ['--input-type=module', '--eval', SERVER_SCRIPT, module, clusterDir, packageDir]
  const child = track(
    // A group of its own, so that the test can send it what a terminal would send.
    spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true, cwd: '/', ...as }),
  )
  if (child.stdout === null) throw new Error('the child has no output')
  for await (const line of createInterface(child.stdout)) return { child, ...JSON.parse(line) }
  throw new Error('the child ended without a word')
}

/** Its own connection, as the application would have one. */
function query({ connection }: Pick<EmbeddedPostgres, 'connection'>, name = 'application'): postgres.Sql {
  const options = { username: 'postgres', max: 1, onnotice() {}, connection: { application_name: name } }
  const sql = postgres({ ...connection, ...options })
  clients.push(sql)
  return sql
}

async function notes(server: Pick<EmbeddedPostgres, 'connection'>, text?: string): Promise<unknown[]> {
  return noteRows(query(server), text)
}

async function noteRows(sql: postgres.Sql, text = 'select note from kept'): Promise<unknown[]> {
  return (await sql.unsafe(text)).map((row) => row.note)
}

async function lockHolders(server: EmbeddedPostgres): Promise<unknown[]> {
  const rows = await query(server)`select application_name as name from pg_locks
    join pg_stat_activity using (pid) where locktype = 'advisory'`
  return rows.map((row) => row.name)
}

/** A path that does not exist yet, alone in a folder of its own. */
function newFolder(name: string): string {
  folders += 1
  const parent = join(scratch, String(folders))
  mkdirSync(parent)
  chmodSync(parent, 0o755) // whatever the umask
  return join(parent, name)
}

function newCluster(name = 'postgres'): string {
  const clusterDir = newFolder(name)
  execFileSync('cp', ['-a', template, clusterDir])
  return clusterDir
}

/** The package as npm unpacks it: without its links. */
function copyOfPackage(to: string): string {
  cpSync(PACKAGE, to, { recursive: true, filter: (path) => !lstatSync(path).isSymbolicLink() })
  return to
}

function copyName(packageDir: string): string {
  const { version } = JSON.parse(readFileSync(join(packageDir, 'package.json'), 'utf8'))
  return `postgresql-${version}-${process.platform}-${process.arch}`
}

/** What a crash leaves: a postmaster.pid, and the lock file beside the socket. */
function leavePidFile(clusterDir: string, pid: number): void {
  const lines = [pid, clusterDir, 1760000000, 5432, clusterDir, '', '  123456     12345', 'ready   ', '']
  writeFileSync(join(clusterDir, 'postmaster.pid'), lines.join('\n'), { mode: 0o600 })
  writeFileSync(join(clusterDir, '.s.PGSQL.5432.lock'), lines.slice(0, 5).join('\n'), { mode: 0o600 })
  execFileSync('chown', ['-R', String(statSync(clusterDir).uid), clusterDir])
}

async function pidOfTheDead(): Promise<number> {
  const child = spawn('true')
  await once(child, 'exit')
  return child.pid ?? 0
}

function track(child: ChildProcess): ChildProcess {
  children.push(child)
  return child
}

async function exitOf(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  child.kill(signal)
  await exitOf(child)
}

async function leaveNothing(): Promise<void> {
  await Promise.all(clients.map((sql) => sql.end({ timeout: 0 })))
  await Promise.all(children.map((child) => kill(child, 'SIGKILL')))
  await Promise.all(servers.map((server) => server.stop()))
  for (const clusterDir of clusters.filter(existsSync)) {
    const folder = realpathSync(clusterDir)
    const left = await readPostmasterFile(folder)
    if (left !== undefined) await stopPostmaster(left.pid, folder)
  }
  servers = []
  clients = []
  children = []
  clusters = []
  // Each is some forty megabytes in a thousand files: all of them at the end take longer than a hook may.
  for (const name of readdirSync(scratch)) {
    if (name !== basename(template)) rmSync(join(scratch, name), { recursive: true, force: true })
  }
}
