import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import postgres from '#postgres'
import { type EmbeddedPostgres, startEmbedded } from '../../../src/database/embedded/embedded-postgres.ts'
import { parsePosition } from '../../../src/database/embedded/log-segments.ts'
import {
  copyOnline,
  type OnlineCopy,
  type OnlineCopyOptions,
} from '../../../src/database/embedded/online-copy.ts'
import {
  LogTooShortError,
  type RecoveryOptions,
  recoverCluster,
} from '../../../src/database/embedded/recovery.ts'
import { copiedFiles, copiedLog, writeTo } from '../../support/copied-cluster.ts'
import { until } from '../../support/wait.ts'

const itAsRoot = it.skipIf(process.getuid?.() !== 0)
const NOBODY = { uid: 65534, gid: 65534 }

const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'online-copy-test-')))
chmodSync(scratch, 0o755)
const template = join(scratch, 'template')
const overrides = { cacheDir: join(scratch, 'cache'), libraryDir: join(scratch, 'library') }
const logger = { info() {}, warn() {} }

let folders = 0
let servers: EmbeddedPostgres[] = []
let clients: postgres.Sql[] = []
let children: ChildProcess[] = []

beforeAll(async () => {
  const server = await start(template)
  await query(server).unsafe(`
    create table counters (writer int primary key, value int not null);
    create table entries (writer int, number int, padding text, primary key (writer, number))`)
  await leaveNothing()
})
afterEach(leaveNothing)
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

describe('a copy of a running database', () => {
  it('becomes what was committed before its moment, and nothing that came later', async () => {
    const server = await start(newCluster())
    const load = new Load(server)
    const backup = newFolder('backup')
    await until(() => load.count > 50, 'the load has begun')
    const copy = await copyTo(backup, server)
    await until(() => load.hasAfter(copy.restorePointLsn), 'all writers have gone on')
    await load.stop()

    const restored = await start(await recover(backup, copy))
    const sql = query(restored)
    const point = parsePosition(copy.restorePointLsn)
    for (const writer of WRITERS) {
      const [found] = await sql`
        select value, (select count(*)::int from entries e where e.writer = c.writer) as entries,
          (select coalesce(max(number), 0) from entries e where e.writer = c.writer) as last
        from counters c where writer = ${writer}`
      const before = load.steps.filter((step) => step.writer === writer && step.after <= point)
      const after = load.steps.filter((step) => step.writer === writer && step.before >= point)
      expect(found).toEqual({ value: found?.value, entries: found?.value, last: found?.value })
      expect(found?.value).toBeGreaterThanOrEqual(Math.max(0, ...before.map(({ number }) => number)))
      expect(found?.value).toBeLessThan(Math.min(...after.map(({ number }) => number)))
    }
    // It goes on where it was.
    await sql`insert into counters values (100, 1)`
    expect((await sql`select pg_is_in_recovery() as recovers`)[0]).toEqual({ recovers: false })
  })

  it('has all that users have made: tables, functions, policies, sequences; unlogged tables are empty', async () => {
    const server = await start(newCluster())
    const sql = query(server)
    await sql.unsafe(`
      create role reader;
      create schema shop;
      create table shop.orders (id bigint generated always as identity primary key, owner text);
      insert into shop.orders (owner) select 'o' || n from generate_series(1, 1000) n;
      alter table shop.orders enable row level security;
      create policy mine on shop.orders to reader using (owner = 'o7');
      grant usage on schema shop to reader; grant select on shop.orders to reader;
      create function shop.total() returns bigint language sql as 'select count(*) from shop.orders';
      create unlogged table shop.passing as select generate_series(1, 10000) n;
      create temporary table mine_alone as select 1`)
    await sql`create database of_another_application`
    const backup = newFolder('backup')
    const copy = await copyTo(backup, server)
    const [passing] = await sql`select pg_relation_filepath('shop.passing') as path`
    expect(existsSync(join(backup, 'database', passing?.path))).toBe(false)
    expect(existsSync(join(backup, 'database', `${passing?.path}_init`))).toBe(true)

    const restored = query(await start(await recover(backup, copy)))
    expect((await restored`select shop.total(), (select count(*) from shop.passing) as passing`)[0]).toEqual({
      total: '1000',
      passing: '0',
    })
    await restored`set role reader`
    expect(await restored`select owner from shop.orders`).toMatchObject([{ owner: 'o7' }])
    await restored`reset role`
    const [next] = await restored`insert into shop.orders (owner) values ('next') returning id`
    expect(Number(next?.id)).toBeGreaterThan(1000)
    expect(
      await restored`select datname from pg_database where datname = 'of_another_application'`,
    ).toHaveLength(1)
  })

  it('says what it is', async () => {
    const server = await start(newCluster())
    writeFileSync(join(clusterOf(server), 'notes of the operator'), 'not a database')
    const backup = newFolder('backup')
    const progress: [number, number][] = []
    const copy = await copyTo(backup, server, { onProgress: (...now) => progress.push(now) })
    const [is] = await query(server)`
      select system_identifier::text as id, current_setting('server_version') as version from pg_control_system()`
    expect(copy).toMatchObject({ systemIdentifier: is?.id, postgres: is?.version, timeline: 1 })
    const positions = [copy.startLsn, copy.endLsn, copy.restorePointLsn].map(parsePosition)
    expect(positions).toEqual([...positions].sort((a, b) => (a < b ? -1 : 1)))
    expect(copy.directories).toEqual(expect.arrayContaining(['base', 'pg_wal', 'pg_wal/archive_status']))
    for (const left of ['postmaster.pid', 'server.log', 'notes of the operator']) {
      expect(existsSync(join(backup, 'database', left))).toBe(false)
    }
    expect(progress.at(-1)).toEqual([copy.bytes, copy.bytes])
    expect(progress.every(([done, total]) => done <= total)).toBe(true)
  })

  it('goes on without tables that are dropped, emptied or made meanwhile', async () => {
    const server = await start(newCluster())
    const sql = query(server)
    for (let table = 0; table < 20; table++) {
      await sql.unsafe(
        `create table t${table} as select n, repeat('x', 100) from generate_series(1, 2000) n; checkpoint`,
      )
    }
    const backup = newFolder('backup')
    const write = writeTo(backup)
    let files = 0
    const copy = await copyTo(backup, server, {
      async write(path, content) {
        const number = files++
        if (number % 20 === 0 && number < 400) {
          const table = number / 20
          await sql.unsafe(table % 2 ? `drop table t${table}` : `truncate t${table}`)
          await sql.unsafe(`create table later${table} as select generate_series(1, 500) n; checkpoint`)
        }
        return write(path, content)
      },
    })
    const tables = `select relname::text as name from pg_class
      where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1`
    const expected = await sql.unsafe(tables)
    const restored = query(await start(await recover(backup, copy)))
    expect(await restored.unsafe(tables)).toEqual(expected)
    for (const { name } of expected.filter(({ name }) => /^t\d|^later/.test(name))) {
      const count = `select count(*) from ${name}`
      expect([name, ...(await restored.unsafe(count))]).toEqual([name, ...(await sql.unsafe(count))])
    }
  })

  it('is refused where files lie elsewhere, or the folder is not the one of the database', async () => {
    const server = await start(newCluster())
    const other = newCluster()
    const elsewhere = await start(newFolder('postgres'))
    await expect(copyTo(newFolder('backup'), elsewhere, { folder: other })).rejects.toThrow(
      'is not the folder of the PostgreSQL that answers',
    )
    const tablespace = newFolder('tablespace')
    mkdirSync(tablespace)
    if (process.getuid?.() === 0) {
      const { uid, gid } = statSync(clusterOf(server))
      chownSync(tablespace, uid, gid)
    }
    await query(server).unsafe(`create tablespace far location '${tablespace}'`)
    await expect(copyTo(newFolder('backup'), server)).rejects.toThrow('has tablespaces (far)')
  })
})

describe('a copy that does not come to its end', () => {
  it('fails as its target does, and leaves nothing in the database', async () => {
    const server = await start(newCluster())
    let files = 0
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    const copying = copyTo(newFolder('backup'), server, {
      async write(_, content) {
        for await (const _ of content) if (files++ > 100) throw full
      },
    })
    await expect(copying).rejects.toBe(full)
    await until(async () => (await slots(server)).length === 0, 'no log is kept for it')
  })

  it('can be told to end', async () => {
    const server = await start(newCluster())
    const abort = new AbortController()
    const why = new Error('enough')
    const copying = copyTo(newFolder('backup'), server, {
      signal: abort.signal,
      async write(_, content) {
        abort.abort(why)
        for await (const _ of content);
      },
    })
    await expect(copying).rejects.toThrow(/enough|aborted/)
    await until(async () => (await slots(server)).length === 0, 'no log is kept for it')
  })

  it('says so when PostgreSQL is killed, which comes back without it', async () => {
    const server = await start(newCluster())
    let isKilled = false
    const copying = copyTo(newFolder('backup'), server, {
      async write(_, content) {
        for await (const _ of content);
        if (!isKilled) process.kill(server.pid, 'SIGKILL')
        isKilled = true
      },
    })
    await expect(copying).rejects.toThrow('PostgreSQL ended while it was copied')
    await until(
      () =>
        slots(server).then(
          (left) => left.length === 0,
          () => false,
        ),
      'PostgreSQL is back',
    )
    const backup = newFolder('backup')
    await recover(backup, await copyTo(backup, server))
  })

  it('leaves nothing in the database when it is killed', async () => {
    const server = await start(newCluster())
    const child = await copyInChild(server)
    expect(await slots(server)).toHaveLength(1)
    child.kill('SIGKILL')
    await until(async () => (await slots(server)).length === 0, 'no log is kept for it')
    const backup = newFolder('backup')
    await recover(backup, await copyTo(backup, server))
  })
})

describe('a point in time', () => {
  it('is what was committed by then', async () => {
    const server = await start(newCluster())
    const backup = newFolder('backup')
    const load = new Load(server)
    await until(() => load.count > 20, 'the load has begun')
    const copy = await copyTo(backup, server)
    await until(() => load.hasAfter(copy.restorePointLsn), 'all writers have gone on')
    const sql = query(server)
    const [{ now }] = await sql<[{ now: Date }]>`select date_trunc('milliseconds', clock_timestamp()) as now`
    await until(() => load.steps.some((step) => step.begunAt > now), 'somebody has gone on')
    await load.stop()
    await sql`select pg_switch_wal()`

    const segment = copiedLog(join(clusterOf(server), 'pg_wal'))
    const clusterDir = await recover(backup, copy, { segment, target: { time: now, isComplete: false } })
    const found = await query(await start(clusterDir))`select writer, value from counters`
    for (const { writer, value } of found) {
      const its = load.steps.filter((step) => step.writer === writer)
      expect(value).toBeGreaterThanOrEqual(
        Math.max(...its.filter(({ endedAt }) => endedAt < now).map(({ number }) => number)),
      )
      expect(value).toBeLessThan(
        Math.min(...its.filter(({ begunAt }) => begunAt > now).map(({ number }) => number)),
      )
    }
    expect(found).toHaveLength(WRITERS.length)
  })

  it('that the log does not reach is refused, unless the log is known to be all there is', async () => {
    const server = await start(newCluster())
    const backup = newFolder('backup')
    const copy = await copyTo(backup, server)
    const sql = query(server)
    await sql`insert into counters values (100, 7)`
    await sql`select pg_switch_wal()`
    const segment = copiedLog(join(clusterOf(server), 'pg_wal'))
    const time = new Date(Date.now() + 3_600_000)
    const tooShort = recover(backup, copy, { segment, target: { time, isComplete: false } })
    await expect(tooShort).rejects.toThrow(LogTooShortError)
    await expect(tooShort).rejects.toThrow(
      /^The log does not reach .*: it ends with what was committed at \d{4}/,
    )
    const restored = await recover(backup, copy, { segment, target: { time, isComplete: true } })
    expect(await query(await start(restored))`select * from counters`).toEqual([{ writer: 100, value: 7 }])
  })

  it('before the copy was complete is refused', async () => {
    const server = await start(newCluster())
    const sql = query(server)
    const time = new Date()
    const backup = newFolder('backup')
    const write = writeTo(backup)
    let committed: Promise<unknown> | undefined
    const copy = await copyTo(backup, server, {
      async write(path, content) {
        committed ??= sql`insert into counters values (100, 7)`.execute()
        await committed
        return write(path, content)
      },
    })
    const segment = copiedLog(join(clusterOf(server), 'pg_wal'))
    const early = recover(backup, copy, { segment, target: { time, isComplete: false } })
    await expect(early).rejects.toThrow('is before this backup was complete')
  })
})

describe('a recovery', () => {
  let backup: string
  let copy: OnlineCopy
  beforeAll(async () => {
    const server = await start(newCluster())
    await query(server)`insert into counters values (1, 42)`
    backup = newFolder('backup')
    copy = await copyTo(backup, server)
    await leaveNothing()
  })

  it('makes the cluster of a user of its own, stopped in order, with nothing left beside it', async () => {
    const clusterDir = await recover(backup, copy)
    expect(readdirSync(dirname(clusterDir))).toEqual(['postgres'])
    const names = readdirSync(clusterDir)
    for (const left of ['recovery.signal', 'backup_label', 'backup_label.old', 'postmaster.pid']) {
      expect(names).not.toContain(left)
    }
    expect(statSync(clusterDir).mode & 0o777).toBe(0o700)
    if (process.getuid?.() === 0) expect(statSync(join(clusterDir, 'base')).uid).not.toBe(0)
    expect(await query(await start(clusterDir))`select value from counters`).toEqual([{ value: 42 }])
  })

  it('may be to a folder with blanks and quotes in its name, and to one too long for a socket', async () => {
    for (const name of [`it's "mine", $HOME really`, 'long'.repeat(30)]) {
      const clusterDir = await recover(backup, copy, { clusterDir: newFolder(name) })
      expect(readdirSync(clusterDir)).toContain('PG_VERSION')
    }
  })

  it('touches no database that is there already', async () => {
    const clusterDir = newCluster()
    const before = readdirSync(clusterDir)
    await expect(recover(backup, copy, { clusterDir })).rejects.toThrow('There is a database in')
    expect(readdirSync(clusterDir)).toEqual(before)
  })

  it('without part of the log, or of another version, fails in plain words and leaves nothing', async () => {
    const cases: [Partial<RecoveryOptions>, string][] = [
      [{ segment: async () => null }, 'could not recover the copy'],
      [{ target: { restorePoint: 'another' } }, 'does not reach the moment of the backup'],
      [{ files: withVersion('17\n') }, 'was made of PostgreSQL 17'],
      [{ files: oddFile('../../elsewhere') }, 'No file of a database is at ../../elsewhere'],
    ]
    for (const [options, says] of cases) {
      const clusterDir = newFolder('postgres')
      await expect(recover(backup, copy, { ...options, clusterDir })).rejects.toThrow(says)
      expect(readdirSync(dirname(clusterDir))).toEqual([])
    }
  })

  it('fails as whoever gives it the log does, or is told to end', async () => {
    const clusterDir = newFolder('postgres')
    const unreachable = new Error('the store cannot be reached')
    const failing = recover(backup, copy, { clusterDir, segment: () => Promise.reject(unreachable) })
    await expect(failing).rejects.toBe(unreachable)

    const abort = new AbortController()
    const why = new Error('enough')
    const ended = recover(backup, copy, {
      clusterDir,
      signal: abort.signal,
      segment: () => {
        abort.abort(why)
        return new Promise<null>((resolve) => setImmediate(resolve, null))
      },
    })
    await expect(ended).rejects.toThrow(/enough|aborted/)
    expect(readdirSync(dirname(clusterDir))).toEqual([])
  })

  it('that is killed leaves nothing at the place of the cluster, and the next one clears up', async () => {
    const clusterDir = newFolder('postgres')
    const child = await recoverInChild(clusterDir, backup, copy)
    const left = readdirSync(dirname(clusterDir)).filter((name) => name.includes('.restoring-'))
    expect(left).toEqual([`postgres.restoring-${child.pid}`])
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(existsSync(clusterDir)).toBe(false)
    await recover(backup, copy, { clusterDir })
    expect(readdirSync(dirname(clusterDir))).toEqual(['postgres'])
  })

  itAsRoot('works for an ordinary user', async () => {
    const dataDir = newFolder('data')
    mkdirSync(dataDir)
    chownSync(dataDir, NOBODY.uid, NOBODY.gid)
    const own = newFolder('backup')
    cpSync(backup, own, { recursive: true })
    execFileSync('chown', ['-R', `${NOBODY.uid}:${NOBODY.gid}`, own])
    const clusterDir = join(dataDir, 'postgres')
    const child = await recoverInChild(clusterDir, own, copy, NOBODY)
    child.stdin?.write('go on\n')
    await once(child, 'exit')
    expect(child.exitCode).toBe(0)
    expect(statSync(clusterDir).uid).toBe(NOBODY.uid)
    expect(await query(await start(clusterDir))`select value from counters`).toEqual([{ value: 42 }])
  })

  async function* withVersion(version: string) {
    for await (const file of copiedFiles(backup)) {
      yield file.path === 'PG_VERSION' ? { ...file, open: async () => Readable.from([version]) } : file
    }
  }

  async function* oddFile(path: string) {
    yield { path, open: async () => Readable.from(['x']) }
  }
})

const WRITERS = [1, 2, 3, 4]

interface Step {
  writer: number
  number: number
  /** Positions in the log between which it was committed. */
  before: bigint
  after: bigint
  /** By the database's clock. */
  begunAt: Date
  endedAt: Date
}

/** Writers that count, each in transactions of two tables, and note when each was acknowledged. */
class Load {
  readonly steps: Step[] = []
  #isStopping = false
  readonly #running: Promise<void>

  constructor(server: EmbeddedPostgres) {
    this.#running = Promise.all(WRITERS.map((writer) => this.#write(query(server), writer))).then(() => {})
    this.#running.catch(() => {}) // `stop` throws it
  }

  get count(): number {
    return this.steps.length
  }

  /** Whether each writer has begun something after a position. */
  hasAfter(position: string): boolean {
    const point = parsePosition(position)
    return WRITERS.every((writer) =>
      this.steps.some((step) => step.writer === writer && step.before >= point),
    )
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  async #write(sql: postgres.Sql, writer: number): Promise<void> {
    const moment = async () => {
      const [row] = await sql<[{ position: string; time: Date }]>`
        select pg_current_wal_insert_lsn()::text as position, clock_timestamp() as time`
      return { position: parsePosition(row.position), time: row.time }
    }
    for (let number = 1; !this.#isStopping; number++) {
      const { position: before, time: begunAt } = await moment()
      await sql.begin(async (tx) => {
        await tx`insert into counters values (${writer}, 1)
          on conflict (writer) do update set value = counters.value + 1`
        await tx`insert into entries values (${writer}, ${number}, ${'x'.repeat((number * 37) % 1500)})`
      })
      const { position: after, time: endedAt } = await moment()
      this.steps.push({ writer, number, before, after, begunAt, endedAt })
      await delay(1)
    }
  }
}

function clusterOf(server: EmbeddedPostgres): string {
  return server.connection.host
}

let copies = 0

function copyTo(
  backup: string,
  server: EmbeddedPostgres,
  options: Partial<OnlineCopyOptions> = {},
): Promise<OnlineCopy> {
  return copyOnline({
    address: server.connection,
    folder: clusterOf(server),
    restorePoint: `copy ${++copies}`,
    write: writeTo(backup),
    signal: new AbortController().signal,
    ...options,
  })
}

/** Returns where it is. */
async function recover(
  backup: string,
  copy: OnlineCopy,
  options: Partial<RecoveryOptions> = {},
): Promise<string> {
  const clusterDir = options.clusterDir ?? newFolder('postgres')
  await recoverCluster({
    logger,
    overrides,
    files: copiedFiles(backup),
    directories: copy.directories,
    segment: copiedLog(join(backup, 'wal')),
    target: { restorePoint: copy.restorePoint },
    fsync: false,
    signal: new AbortController().signal,
    ...options,
    clusterDir,
  })
  return clusterDir
}

async function slots(server: EmbeddedPostgres): Promise<unknown[]> {
  return [...(await query(server)`select slot_name from pg_replication_slots`)]
}

const COPY_SCRIPT = `
  const [module, host, port, folder] = process.argv.slice(1)
  const { copyOnline } = await import(module)
  await copyOnline({
    address: { host, port: Number(port) }, folder, restorePoint: 'killed', signal: new AbortController().signal,
    write: async (path, content) => { console.log(path); await new Promise(() => setInterval(() => {}, 1000)) },
  })`

/** A copy that has begun, and stays at its first file. */
function copyInChild(server: EmbeddedPostgres): Promise<ChildProcess> {
  const { host, port } = server.connection
  return inChild(COPY_SCRIPT, 'online-copy.js', [host, String(port), clusterOf(server)])
}

const RECOVER_SCRIPT = `
  const [module, clusterDir, backup, cacheDir, text] = process.argv.slice(1)
  const { recoverCluster } = await import(module)
  const { createReadStream, existsSync, readdirSync } = await import('node:fs')
  const { once } = await import('node:events')
  const { directories, restorePoint } = JSON.parse(text)
  let mayGoOn
  async function* files() {
    for (const entry of readdirSync(backup + '/database', { recursive: true, withFileTypes: true })) {
      const file = entry.parentPath + '/' + entry.name
      if (entry.isFile()) yield { path: file.slice((backup + '/database/').length), open: async () => createReadStream(file) }
    }
  }
  await recoverCluster({
    clusterDir, files: files(), directories, target: { restorePoint }, fsync: false, overrides: { cacheDir },
    logger: { info() {}, warn() {} }, signal: new AbortController().signal,
    segment: async (name) => {
      const file = backup + '/wal/' + name
      if (!existsSync(file)) return null
      console.log(name)
      await (mayGoOn ??= once(process.stdin, 'data'))
      return createReadStream(file)
    },
  })
  process.exit()`

/** A recovery whose PostgreSQL runs, and which waits for a word until it goes on. */
function recoverInChild(
  clusterDir: string,
  backup: string,
  copy: OnlineCopy,
  as: { uid?: number; gid?: number } = {},
): Promise<ChildProcess> {
  const cacheDir = newFolder('cache')
  mkdirSync(cacheDir)
  chmodSync(cacheDir, 0o755)
  return inChild(RECOVER_SCRIPT, 'recovery.js', [clusterDir, backup, cacheDir, JSON.stringify(copy)], as)
}

/** A process of its own, from the build, that has said its first word. */
async function inChild(
  script: string,
  module: string,
  args: string[],
  as: { uid?: number; gid?: number } = {},
): Promise<ChildProcess> {
  const { href } = new URL(`../../../dist/database/embedded/${module}`, import.meta.url)
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script, href, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
    cwd: '/',
    ...as,
  })
  children.push(child)
  await Promise.race([
    once(child.stdout as Readable, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('the child ended without a word'))),
  ])
  return child
}

async function start(clusterDir: string): Promise<EmbeddedPostgres> {
  const server = await startEmbedded({ clusterDir, logger, settings: { fsync: 'off' }, overrides })
  servers.push(server)
  return server
}

function query({ connection }: EmbeddedPostgres): postgres.Sql {
  const sql = postgres({ ...connection, username: 'postgres', max: 1, onnotice() {} })
  clients.push(sql)
  return sql
}

/** A path that does not exist yet, alone in a folder of its own. */
function newFolder(name: string): string {
  folders += 1
  const parent = join(scratch, String(folders))
  mkdirSync(parent)
  chmodSync(parent, 0o755) // whatever the umask
  return join(parent, name)
}

function newCluster(): string {
  const clusterDir = newFolder('postgres')
  execFileSync('cp', ['-a', template, clusterDir])
  return clusterDir
}

async function leaveNothing(): Promise<void> {
  await Promise.all(clients.map((sql) => sql.end({ timeout: 0 })))
  for (const child of children) {
    const isGone = child.exitCode !== null || child.signalCode !== null
    if (!isGone) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
  clients = []
  children = []
}
