import { createHash } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import postgres from '#postgres'
import type { Backend } from '../../../src/backend/backend.ts'
import { openBackends } from '../../../src/backend/open.ts'
import { openSnapshot, type VersionRow } from '../../../src/database/dump/snapshot.ts'
import { keepCluster } from '../../../src/database/embedded/before-upgrade.ts'
import { startEmbedded } from '../../../src/database/embedded/embedded-postgres.ts'
import { copyOnline, type OnlineCopy } from '../../../src/database/embedded/online-copy.ts'
import { LogTooShortError, recoverCluster } from '../../../src/database/embedded/recovery.ts'
import { rollBack } from '../../../src/database/opening/upgrade.ts'
import { holdRemovals, isHeld } from '../../../src/database/queries/backup-holds.ts'
import { type BytesEntry, bytesPath, EntryWriter } from '../../../src/jobs/backup/entries.ts'
import { FolderTarget } from '../../../src/jobs/backup/folder-target.ts'
import { endHold } from '../../../src/jobs/backup/held-removals.ts'
import {
  type LogStatus,
  readLogStatus,
  trimLog,
  writeLogStatus,
  writeSegment,
} from '../../../src/jobs/backup/log-folder.ts'
import { forgetLog, LOG_HOLD, LogFollower } from '../../../src/jobs/backup/log-follower.ts'
import { type Manifest, writeManifest } from '../../../src/jobs/backup/manifest.ts'
import { findPointInTime } from '../../../src/jobs/backup/point-in-time.ts'
import { type BackupTarget, UNFINISHED } from '../../../src/jobs/backup/target.ts'
import { type OwnPostgres, startOwnPostgres } from '../../support/own-postgres.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { MemoryTarget } from './memory-target.ts'
import { newManifest } from './new-manifest.ts'

// The log (decision 0060): every second that it reaches can be restored, rows and bytes.

const NEVER = new AbortController().signal
const logger = pino({ level: 'silent' })

let own: OwnPostgres
beforeAll(async () => {
  own = await startOwnPostgres()
})
afterAll(() => own.remove())

let server: TestServer
let backend: Backend
let target: MemoryTarget
let followers: LogFollower[]
beforeEach(async () => {
  server = await startTestServer(IN_FILES, { postgres: own.place })
  backend = await openBackends(server.config)
  target = new MemoryTarget()
  followers = []
  await server.createBucket('b')
})
afterEach(async () => {
  await Promise.all(followers.map((follower) => follower.close()))
  await forgetLog({ ...server, backend, findCluster: async () => cluster(), logger }, NEVER)
  await backend.close()
  await server.close()
})

describe('a second that the log reaches', () => {
  it('has its rows, and the bytes of all that they name, whatever has become of them since', async () => {
    const following = follow()
    await following.isUp()
    await put('kept', 'from before the backup')
    await put('replaced', 'old')
    await backUp()

    const model = new Map([
      ['kept', 'from before the backup'],
      ['replaced', 'old'],
    ])
    for (let round = 0; round < 30; round++) {
      const name = `file ${round % 7}`
      if (round % 5 === 4) {
        await server.request('DELETE', `/object/b/${encodeURIComponent(name)}`)
        model.delete(name)
      } else {
        await put(name, `content ${round}`)
        model.set(name, `content ${round}`)
      }
    }
    await put('replaced', 'new')
    model.set('replaced', 'new')
    await server.admin`delete from storage.objects where name = 'file 1'` // as a user's own SQL does
    model.delete('file 1')
    const moment = await now()

    await put('replaced', 'newest')
    await server.request('DELETE', '/object/b/kept')
    for (let round = 0; round < 7; round++) await put(`file ${round}`, 'later')
    await following.reaches(moment)
    // Nobody needs the bytes outside the log.
    await until(async () => (await server.storedFiles()).length === 8, 'what was replaced is removed')
    await following.end()
    expect(await restored(moment)).toEqual(model)
  })

  it('is restored though who follows fails, and is another one, in the midst of it', async () => {
    const failing: BackupTarget = Object.assign(Object.create(target) as MemoryTarget, {
      write: async (path: string, body: Readable | Uint8Array) => {
        if (path.startsWith('log/') && writes++ % 3 === 2) throw new Error('the target is away')
        return target.write(path, body)
      },
    })
    let writes = 0
    const first = follow(failing)
    await first.isUp()
    await backUp()
    const model = new Map<string, string>()
    for (let round = 0; round < 40; round++) {
      const name = `file ${round % 3}`
      await put(name, `content ${round}`)
      model.set(name, `content ${round}`)
      if (round === 20) await server.admin`select pg_switch_wal()`
    }
    const moment = await now()
    await until(() => first.failures > 2, 'the target has failed')
    await first.end()
    await put('file 1', 'later')
    const second = follow()
    await second.reaches(moment)
    await second.end()
    expect(await restored(moment)).toEqual(model)
  })

  it('goes on while nothing happens, without any log', async () => {
    const following = follow()
    await put('one', 'content')
    await backUp()
    await following.reaches(await now())
    const segments = () => [...target.files.keys()].filter((path) => path.startsWith('log/wal/')).length
    await until(async () => {
      const before = segments()
      await following.reaches(await now())
      return segments() === before
    }, 'no more log is written')
    const moment = await now()
    await following.reaches(moment)
    await following.end()
    expect(await restored(moment)).toEqual(new Map([['one', 'content']]))
  })

  it('is told from what has come after an upgrade that was taken back', async () => {
    const clusterDir = own.place.host
    const first = follow()
    await first.isUp()
    await put('one', 'old')
    await backUp()
    await put('one', 'new')
    const before = await now()
    await put('two', 'of before')
    await first.reaches(await now())
    await first.end()

    await own.stop()
    expect(await keepCluster(clusterDir, 'older')).toBeUndefined()
    await own.start()
    const second = follow()
    await second.isUp()
    await backUp()
    await second.reaches(await now())
    await second.end()

    await own.stop()
    await rollBack(clusterDir, logger)
    await own.start()
    const third = follow()
    await third.isUp()
    await put('three', 'of after')
    const after = await now()
    await put('three', 'of later')
    await third.reaches(await now())
    await third.end()
    expect(third.failures).toBe(0)
    expect(await restored(before)).toEqual(new Map([['one', 'new']]))
    const model = { one: 'new', two: 'of before', three: 'of after' }
    expect(await restored(after)).toEqual(new Map(Object.entries(model)))
  })

  it('that it does not reach yet, or from before all backups, is refused', async () => {
    await expect(findPointInTime(target, new Date())).rejects.toThrow('has no log')
    const following = follow()
    await following.isUp()
    const early = await now()
    await put('one', 'content')
    await backUp()
    await following.reaches(await now())
    await following.end()
    await expect(findPointInTime(target, early)).rejects.toThrow('has no backup from before')
    await expect(restored(new Date(Date.now() + 3_600_000))).rejects.toThrow(LogTooShortError)
  })
})

describe('who follows the log', () => {
  it('lists all versions when events were forgotten that nobody had listened to', async () => {
    const first = follow()
    await first.reaches(await now())
    await first.end()
    await put('unheard', 'content')
    await put('unheard too', 'content of it')
    await server.admin`select storage.order_events()`
    await server.admin`delete from storage.event_order where position < (select max(position) from storage.event_order)`
    const second = follow()
    await second.reaches(await now())
    const [row] = await server.admin`select version from storage.objects where name = 'unheard'`
    const lists = [...target.files].filter(([path]) => path.startsWith('log/versions-'))
    expect(lists.map(([, lines]) => lines.toString()).join('')).toContain(row?.version)
    await second.end()
  })

  it('removes what one has left half written that was killed', async () => {
    const root = await mkdtemp(join(tmpdir(), 'log-follower-test-'))
    try {
      const folder = join(root, 'log', 'bytes', 'aa')
      await mkdir(folder, { recursive: true })
      await writeFile(join(folder, `aa${UNFINISHED}0123456789abcdef`), 'half')
      const following = follow(new FolderTarget({ root, name: 'folder', fsync: false }))
      await following.isUp()
      await following.end()
      expect(await readdir(folder)).toEqual([])
    } finally {
      await rm(root, { recursive: true })
    }
  })

  it('leaves bytes alone while a backup holds them', async () => {
    const following = follow()
    await following.isUp()
    await put('one', 'old')
    await holdRemovals(server.database, { name: 'a backup', job: null }, { signal: NEVER })
    await put('one', 'new')
    await following.reaches(await now())
    expect(await server.storedFiles()).toHaveLength(2)
    await endHold({ ...server, backend, logger }, 'a backup', NEVER)
    await until(async () => (await server.storedFiles()).length === 1, 'the old bytes are removed')
    await following.end()
  })

  it('has nothing to do with the log of another database, or of this one after it was restored', async () => {
    const following = follow()
    await following.reaches(await now())
    await following.end()
    const [name] = [...target.files.keys()].flatMap(
      (path) => /^log\/wal\/([0-9A-F]{24})/.exec(path)?.[1] ?? [],
    )
    await expect(writeSegment(target, name ?? '', Buffer.alloc(100))).rejects.toThrow(
      'is of another database',
    )
    const status = (await readLogStatus(target)) as LogStatus // it was followed
    await writeLogStatus(target, { ...status, system_identifier: '1' })
    const other = new LogFollower(options(target))
    followers.push(other)
    await expect(other.round(NEVER)).rejects.toThrow('has the log of another database')
  })

  it('keeps nothing any more once the log is not wanted', async () => {
    const following = follow()
    await following.reaches(await now())
    await following.end()
    expect(await slots()).toHaveLength(1)
    await put('one', 'old')
    await put('one', 'new')
    await forgetLog({ ...server, backend, findCluster: async () => cluster(), logger }, NEVER)
    expect(await slots()).toEqual([])
    expect(await isHeld(server.database, LOG_HOLD)).toBe(false)
    expect(await server.storedFiles()).toHaveLength(1)
  })

  it('forgets what is older than all backups', async () => {
    const following = follow()
    await put('old', 'content')
    await put('old', 'another')
    await put('shared', 'the same')
    await following.reaches(await now())
    const oldest = new Date()
    const before = new Set(target.files.keys())
    await put('new', 'the same')
    await following.reaches(await now())
    await following.end()
    const status = await readLogStatus(target)
    await trimLog(target, { oldest, from: status?.next ?? '' })
    const left = [...target.files.keys()]
    expect(
      left.filter((path) => before.has(path) && /^log\/(wal\/[0-9A-F]{24}|versions)/.test(path)),
    ).toEqual([])
    expect(left.filter((path) => path.startsWith('log/bytes/'))).toEqual([
      `log/${bytesPath(sha256Of('the same'))}`,
    ])
  })
})

/** Follows until it is ended, round after round. */
function follow(to: BackupTarget = target) {
  const follower = new LogFollower(options(to))
  followers.push(follower)
  const stopping = new AbortController()
  const following = { failures: 0, rounds: 0, isUp, reaches, end }
  const running = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await follower.round(NEVER)
        following.rounds++
      } catch {
        following.failures++
      }
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  async function isUp() {
    await until(() => following.rounds > 0, 'the log is followed')
  }
  async function reaches(moment: Date) {
    await until(async () => {
      const status = await readLogStatus(target)
      return status?.until != null && Date.parse(status.until) >= moment.getTime()
    }, 'the log reaches the moment')
  }
  async function end() {
    stopping.abort()
    await running
    await follower.close()
  }
  return following
}

function options(to: BackupTarget) {
  return {
    database: server.database,
    backend,
    cluster: cluster(),
    openTarget: async () => to,
    copyBytes: (_: BackupTarget, row: VersionRow) => copyBytes('log', row),
    logger,
    switchMs: 500,
    settleMs: 1000,
  }
}

function cluster() {
  return { address: own.place, folder: own.place.host }
}

async function put(name: string, body: string): Promise<void> {
  const path = `/object/b/${encodeURIComponent(name)}`
  const response = await server.request('POST', path, { headers: { 'x-upsert': 'true' }, body })
  expect(response.ok).toBe(true)
}

async function now(): Promise<Date> {
  const [row] = await server.admin`select ceil(extract(epoch from clock_timestamp()) * 1000)::float8 as now`
  return new Date(Number(row?.now))
}

async function copyBytes(id: string, { version, bucket }: VersionRow): Promise<BytesEntry> {
  const bytes = await buffer(await backend.read({ version, bucket }))
  const sha256 = sha256Of(bytes)
  await target.write(`${id}/${bytesPath(sha256)}`, bytes)
  return { version, bucket, size: bytes.length, sha256 }
}

/** A backup as far as a point in time needs one. */
async function backUp(): Promise<void> {
  const created_at = new Date().toISOString()
  const manifest = newManifest({ created_at })
  const { id } = manifest
  await holdRemovals(server.database, { name: id, job: null }, { signal: NEVER })
  const copy = await copyOnline({
    ...cluster(),
    restorePoint: id,
    write: (path, content) => target.write(`${id}/${path}`, content),
    signal: NEVER,
  })
  const snapshot = await openSnapshot(server.database, { for: 'backup' })
  const list = new EntryWriter<BytesEntry>(target, `${id}/bytes.ndjson`)
  for await (const row of snapshot.versions()) await list.add(await copyBytes(id, row))
  await list.end()
  await snapshot.close()
  copies.set(id, copy)
  await writeManifest(target, { ...manifest, moment: snapshot.moment, database: aboutDatabase(copy) })
  await endHold({ ...server, backend, logger }, id, NEVER)
}

const copies = new Map<string, OnlineCopy>()

function aboutDatabase(copy: OnlineCopy): Manifest['database'] {
  return {
    kind: 'embedded',
    postgres: copy.postgres,
    system_identifier: copy.systemIdentifier,
    start_lsn: copy.startLsn,
    end_lsn: copy.endLsn,
    restore_point: copy.restorePoint,
  }
}

/** What the objects are called then, and their contents, of which none may be missing. */
async function restored(moment: Date): Promise<Map<string, string>> {
  const found = await findPointInTime(target, moment)
  const { id } = found.backup
  const folder = await mkdtemp(join(tmpdir(), 'log-follower-test-'))
  await chmod(folder, 0o755) // as root, PostgreSQL runs as another user, who has to get in
  const quiet = { info() {}, warn() {} }
  try {
    const clusterDir = join(folder, 'postgres')
    await recoverCluster({
      clusterDir,
      files: filesOf(id),
      directories: copies.get(id)?.directories ?? [],
      segment: found.segment,
      target: found.target,
      fsync: false,
      logger: quiet,
      signal: NEVER,
    })
    const entries = new Map<string, BytesEntry>()
    for await (const entry of found.entries(tmpdir())) entries.set(entry.version, entry)
    const again = await startEmbedded({ clusterDir, logger: quiet, settings: { fsync: 'off' } })
    const [{ name }] = await server.admin<[{ name: string }]>`select current_database() as name`
    const sql = postgres({ ...again.connection, database: name, username: 'postgres', max: 1 })
    try {
      const rows = await sql<{ name: string; version: string; checksum: string }[]>`
        select name, version, checksum from storage.objects`
      const contents = rows.map(async ({ name, version, checksum }): Promise<[string, string]> => {
        const entry = entries.get(version)
        if (!entry) throw new Error(`the bytes of ${name} are nowhere`)
        expect(entry.sha256).toBe(checksum)
        return [name, String(await buffer(await target.read(`${entry.in ?? id}/${bytesPath(entry.sha256)}`)))]
      })
      return new Map(await Promise.all(contents))
    } finally {
      await sql.end({ timeout: 1 })
      await again.stop()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function* filesOf(id: string) {
  const prefix = `${id}/database/`
  for await (const { path } of target.list(prefix)) {
    yield { path: path.slice(prefix.length), open: () => target.read(path) }
  }
}

async function slots(): Promise<unknown[]> {
  return [...(await server.admin`select slot_name from pg_replication_slots`)]
}

function sha256Of(bytes: string | Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
