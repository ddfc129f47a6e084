import pino from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { asService } from '../../../src/database/as-caller.ts'
import { type Database, openDatabase } from '../../../src/database/connection/client.ts'
import { holdRemovals, isHeld } from '../../../src/database/queries/backup-holds.ts'
import {
  type BackupJob,
  deleteJob,
  findJob,
  insertJob,
  type NewBackupJob,
} from '../../../src/database/queries/backup-jobs.ts'
import { lastBackups, noteDrill } from '../../../src/database/queries/backup-outcomes.ts'
import { trimJobs } from '../../../src/database/queries/backup-work.ts'
import { BackupError } from '../../../src/jobs/backup/backup-error.ts'
import type { BackupDeeds, JobRun } from '../../../src/jobs/backup/job-run.ts'
import { BackupRunner, type BackupRunnerOptions, runNow } from '../../../src/jobs/backup/runner.ts'
import { BACKUP_TURN } from '../../../src/jobs/turns.ts'
import { deferred } from '../../../src/lib/deferred.ts'
import { uuidV7 } from '../../../src/lib/uuid.ts'
import { StorageError } from '../../../src/model/errors.ts'
import { createTestDatabase, type TestDatabase } from '../../support/database.ts'
import { PATIENCE_MS, until } from '../../support/wait.ts'

// The runner over a real database; what it does about a job the tests say.

const NEVER = new AbortController().signal
const AT_ONCE = { signal: NEVER, waitMs: 0 }
const DONE = { objectCount: 3, totalBytes: 2 ** 40, damaged: 1 }
const DAY_MS = 86_400_000

let test: TestDatabase
beforeAll(async () => {
  test = await createTestDatabase()
})
beforeEach(() => test.admin`delete from storage.backup_jobs`)
afterAll(() => test.drop())

const NOTHING: BackupDeeds = {
  backup: async () => DONE,
  restore: async () => DONE,
  findWhole: async () => null,
  remove: async () => {},
  idsIn: async () => (await test.admin`select id from storage.backup_jobs`).map(({ id }) => id),
}

const doneBy = (work: (run: JobRun) => unknown) => async (run: JobRun) => {
  await work(run)
  return DONE
}

function runnerOf(
  deeds: Partial<BackupDeeds> = {},
  more: { now?: () => Date; settings?: Partial<BackupRunnerOptions['settings']> } = {},
): BackupRunner {
  return new BackupRunner({
    database: test.database,
    deeds: { ...NOTHING, ...deeds },
    logger: pino({ level: 'silent' }),
    ...more,
    settings: { target: '/t', retentionDays: 30, schedule: undefined, ...more.settings },
  })
}

const job = (columns: Partial<NewBackupJob> = {}): NewBackupJob => ({
  id: uuidV7(),
  kind: 'backup',
  type: 'full',
  target: '/t',
  parent: null,
  description: '',
  buckets: null,
  includeVersions: true,
  includeTrash: false,
  request: {},
  retentionDays: null,
  createdBy: 'a test',
  ...columns,
})

/** Asks for one. Returns its id. */
async function asked(columns: Partial<NewBackupJob> = {}): Promise<string> {
  const made = await asService(test.database, (tx) => insertJob(tx, job(columns)))
  return made.id
}

/** Of one millisecond, ids would be in no order. */
let givenAt = Date.now() - DAY_MS

/** One that is there already, of before what is asked for. Returns its id. */
async function given(columns: Record<string, unknown> = {}): Promise<string> {
  const id = uuidV7(new Date(givenAt++))
  const row = { id, kind: 'backup', type: 'full', status: 'completed', target: '/t', ...columns }
  await test.admin`insert into storage.backup_jobs ${test.admin(row)}`
  return id
}

async function found(id: string): Promise<BackupJob | null> {
  return asService(test.database, (tx) => findJob(tx, id))
}

/** Whether somebody waits for the turn of backups. */
async function isWaitedFor(): Promise<boolean> {
  const next = await test.admin`
    select from strongroom.turns t where name = ${`${BACKUP_TURN}, next`} and strongroom.has_session(t)`
  return next.length > 0
}

const statuses = async () => {
  const rows = await test.admin`select status from storage.backup_jobs order by created_at, id`
  return rows.map(({ status }) => String(status))
}

describe('a job', () => {
  it('is done, and has its counts and its end', async () => {
    const runs: JobRun[] = []
    const id = await asked({ description: 'mine' })
    await runnerOf({ backup: doneBy((run) => runs.push(run)) }).step(NEVER)
    expect(runs).toMatchObject([{ job: { id, status: 'running', description: 'mine', parent: null } }])
    const done = await found(id)
    expect(done).toMatchObject({ status: 'completed', progress: 1, ...DONE, error: null })
    const { startedAt, completedAt, expiresAt } = done ?? {}
    expect(Number(completedAt)).toBeGreaterThanOrEqual(Number(startedAt))
    expect(Number(expiresAt) - Number(completedAt)).toBe(30 * DAY_MS)
  })

  it('expires when it says so itself, and never where nobody says when', async () => {
    const [own, none] = [await asked({ retentionDays: 2 }), uuidV7()]
    await runnerOf().step(NEVER)
    await asked({ id: none })
    await runnerOf({}, { settings: { retentionDays: null } }).step(NEVER)
    const done = await found(own)
    expect(Number(done?.expiresAt) - Number(done?.completedAt)).toBe(2 * DAY_MS)
    expect((await found(none))?.expiresAt).toBeNull()
  })

  it('may be a restore', async () => {
    const parent = await given()
    const id = await asked({ kind: 'restore', type: null, parent, request: { mode: 'replace' } })
    const seen: (BackupJob | null)[] = []
    await runnerOf({ restore: doneBy(async (run) => seen.push(await found(run.job.id))) }).step(NEVER)
    expect(seen).toMatchObject([{ status: 'restoring', parent, request: { mode: 'replace' } }])
    expect(await found(id)).toMatchObject({ status: 'restored', progress: 1, ...DONE, expiresAt: null })
  })

  it('tells how far it is while it is under way', async () => {
    const id = await asked()
    const end = deferred<void>()
    const stepping = runnerOf({
      backup: async ({ note }) => {
        for (let i = 0; i <= 100; i++) note(i / 200, { ...DONE, objectCount: i })
        await end.promise
        return DONE
      },
    }).step(NEVER)
    await until(async () => (await found(id))?.progress === 0.5, 'the newest note is in the row')
    expect(await found(id)).toMatchObject({ status: 'running', objectCount: 100 })
    end.resolve()
    await stepping
    expect(await found(id)).toMatchObject({ status: 'completed', objectCount: 3 })
  })

  it.each<[string, () => Error, string]>([
    ['of ours', () => new StorageError('StorageFull'), new StorageError('StorageFull').message],
    [
      'of the target',
      () => new BackupError('UnusableTarget', 'There is a cat in it'),
      'There is a cat in it',
    ],
    [
      'that nobody foresaw',
      () => new TypeError('secret is not a function'),
      'It has failed for a reason that the log of the server has',
    ],
  ])('says why it has failed, for a reason %s', async (_, error, sentence) => {
    const id = await asked()
    await runnerOf({ backup: () => Promise.reject(error()) }).step(NEVER)
    expect(await found(id)).toMatchObject({ status: 'failed', error: sentence, expiresAt: null })
    await asked()
  })

  it('is done once, by one of many servers', async () => {
    let done = 0
    const runners = Array.from({ length: 4 }, () => runnerOf({ backup: doneBy(() => done++) }))
    for (let i = 1; i <= 3; i++) {
      await asked()
      await Promise.all(runners.map((runner) => runner.step(NEVER)))
      expect(done).toBe(i)
    }
    expect(await statuses()).toEqual(['completed', 'completed', 'completed'])
  })

  it('is interrupted when its server stops', async () => {
    const id = await asked()
    const stopping = new AbortController()
    const backup = ({ signal }: JobRun) =>
      new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
        stopping.abort()
      })
    await runnerOf({ backup }).step(stopping.signal)
    expect(await found(id)).toMatchObject({ status: 'failed', error: 'It was interrupted' })
  })

  it('is done by a command, when no server is at it', async () => {
    const options = {
      database: test.database,
      deeds: NOTHING,
      retentionDays: 30,
      logger: pino({ level: 'silent' }),
    }
    const wanted = job()
    expect(await runNow(options, wanted, AT_ONCE)).toMatchObject({ job: { id: wanted.id }, isDone: true })
    expect((await found(wanted.id))?.status).toBe('completed')
    const underWay = await asked()
    await test.admin`update storage.backup_jobs set status = 'running' where id = ${underWay}`
    await test.database.exclusively(BACKUP_TURN, async () => {
      expect(await runNow(options, job(), AT_ONCE)).toBeNull()
    })
    await test.admin`update storage.backup_jobs set status = 'pending' where id = ${underWay}`
    await expect(runNow(options, job(), AT_ONCE)).rejects.toMatchObject({ code: 'BackupRunning' })
  })

  it('is done by a command that has waited for a server, which has the turn for a moment', async () => {
    const wanted = job()
    const logger = pino({ level: 'silent' })
    const options = { database: test.database, deeds: NOTHING, retentionDays: 30, logger }
    const waiting = await test.database.exclusively(BACKUP_TURN, async () => {
      const running = runNow(options, wanted, { signal: NEVER, waitMs: PATIENCE_MS })
      await until(isWaitedFor, 'it waits')
      return { running }
    })
    expect(await waiting?.running).toMatchObject({ job: { id: wanted.id }, isDone: true })
  })

  it('is done by a command that has waited longer for a server, which has removed a backup', async () => {
    const wanted = job()
    const logger = pino({ level: 'silent' })
    let asks = 0
    const database: Database = {
      ...test.database,
      exclusively: (turn, work, waiting) => {
        asks++
        return test.database.exclusively(turn, work, waiting)
      },
    }
    const waiting = await test.database.exclusively(BACKUP_TURN, async () => {
      const running = runNow({ database, deeds: NOTHING, retentionDays: 30, logger }, wanted, AT_ONCE)
      await until(() => asks > 1, 'it has asked again')
      return { running }
    })
    expect(await waiting?.running).toMatchObject({ job: { id: wanted.id }, isDone: true })
  })

  it('is done between the removals of two others', async () => {
    for (let i = 0; i < 2; i++) await given({ deleted_at: new Date().toISOString() })
    const logger = pino({ level: 'silent' })
    const order: string[] = []
    let running: ReturnType<typeof runNow> | undefined
    const deeds: BackupDeeds = {
      ...NOTHING,
      backup: doneBy(() => order.push('made')),
      remove: async () => {
        order.push('removed')
        const options = { database: test.database, deeds, retentionDays: 30, logger }
        running ??= runNow(options, job(), { signal: NEVER, waitMs: PATIENCE_MS })
        if (order.length === 1) await until(isWaitedFor, 'the command waits')
      },
    }
    await runnerOf(deeds).step(NEVER)
    await running
    await runnerOf(deeds).step(NEVER)
    expect(order).toEqual(['removed', 'made', 'removed'])
  })

  it('is done by a server between the removals of two others, and keeps the one that it builds on', async () => {
    const parent = await given({ expires_at: new Date(0).toISOString() })
    const deleted = await given({ deleted_at: new Date().toISOString() })
    const removed: string[] = []
    const deeds: Partial<BackupDeeds> = {
      backup: doneBy(() => removed.push('made')),
      remove: async ({ id }) => {
        removed.push(id)
        if (id === deleted) await asked({ type: 'incremental', parent })
      },
    }
    await runnerOf(deeds).step(NEVER)
    expect(removed).toEqual([deleted, 'made'])
  })
})

describe('the end of a backup', () => {
  const told = async () => {
    const rows = await test.admin`
      select data from storage.events where type = 'storage.backup.completed' and bucket_id is null order by id`
    return rows.map(({ data }) => data)
  }
  beforeEach(() => test.admin`delete from storage.events`)

  it('is an event, written in the transaction that says so', async () => {
    const id = await asked()
    await runnerOf().step(NEVER)
    expect(await told()).toEqual([
      {
        backup_id: id,
        status: 'completed',
        type: 'full',
        object_count: DONE.objectCount,
        total_bytes: DONE.totalBytes,
        started_at: (await found(id))?.startedAt?.toISOString(),
        completed_at: (await found(id))?.completedAt?.toISOString(),
        error: null,
      },
    ])
    const [row] = await test.admin`
      select e.transaction = j.xmin::text::xid8 as together from storage.events e, storage.backup_jobs j where j.id = ${id}`
    expect(row).toEqual({ together: true })
  })

  it('is one, too, when it has failed, or whoever made it has died', async () => {
    const failed = await asked()
    await runnerOf({ backup: () => Promise.reject(new BackupError('UnusableTarget', 'A cat')) }).step(NEVER)
    const dead = await given({ status: 'running', started_at: new Date().toISOString() })
    await runnerOf().step(NEVER)
    expect(await told()).toMatchObject([
      { backup_id: failed, status: 'failed', error: 'A cat' },
      { backup_id: dead, status: 'failed', error: expect.stringContaining('has ended') },
    ])
  })

  it('is one when a command has made it', async () => {
    const wanted = job()
    const logger = pino({ level: 'silent' })
    await runNow({ database: test.database, deeds: NOTHING, retentionDays: null, logger }, wanted, AT_ONCE)
    expect(await told()).toMatchObject([{ backup_id: wanted.id, status: 'completed' }])
  })

  it('is none of a restore, of one that was withdrawn before it began, and of one that expires later', async () => {
    await asked({ kind: 'restore', type: null, parent: await given() })
    await runnerOf().step(NEVER)
    const id = await asked()
    await asService(test.database, (tx) => deleteJob(tx, id))
    await given({ expires_at: new Date(0).toISOString() })
    await runnerOf().step(NEVER)
    expect(await told()).toEqual([])
  })
})

describe('when the last one went well', () => {
  const drilled = (backup: string, error: string | null = null) =>
    noteDrill(test.database, {
      id: uuidV7(),
      backup,
      target: '/t',
      startedAt: new Date(Date.now() - 2000),
      error,
      ...DONE,
    })

  it('is not known before there was one', async () => {
    await given({ status: 'failed', completed_at: new Date().toISOString() })
    expect(await lastBackups(test.database)).toEqual({ backup: null, drill: null })
  })

  it('is told of the newest backup of all buckets, and of the newest drill, whatever has failed since', async () => {
    const of = (seconds: number) => new Date(1.7e12 + seconds * 1000).toISOString()
    await given({ started_at: of(0), completed_at: of(10) })
    const id = await given({ status: 'expired', started_at: of(20), completed_at: of(50), object_count: 7 })
    await given({ buckets: ['a'], started_at: of(60), completed_at: of(61) })
    await given({ status: 'failed', started_at: of(70), completed_at: of(71) })
    await drilled(id)
    await drilled(id, 'An object was wrong')
    const { backup, drill } = await lastBackups(test.database)
    expect(backup).toEqual({
      completedAt: new Date(of(50)),
      durationSeconds: 30,
      objectCount: 7,
      totalBytes: 0,
    })
    expect(drill).toMatchObject({ objectCount: DONE.objectCount, totalBytes: DONE.totalBytes })
    expect(drill?.durationSeconds).toBeGreaterThanOrEqual(2)
  })

  it('is known for as long as nothing newer did, and the rest is forgotten', async () => {
    const old = {
      created_at: new Date(Date.now() - 91 * DAY_MS).toISOString(),
      completed_at: new Date(0).toISOString(),
    }
    const drill = { kind: 'drill', type: null, ...old }
    const first = await given({ status: 'expired', ...old })
    const last = await given({ status: 'expired', ...old })
    const failed = await given({ status: 'failed', ...old })
    const drills = [await given(drill), await given(drill), await given({ ...drill, status: 'failed' })]
    await trimJobs(test.database, 90)
    expect([await found(first), await found(failed)]).toEqual([null, null])
    expect((await found(last))?.status).toBe('expired')
    expect((await Promise.all(drills.map(found))).map((one) => one?.kind)).toEqual([
      undefined,
      'drill',
      undefined,
    ])
  })
})

describe('a database that is away', () => {
  it('makes the runner wait, and nothing else', async () => {
    const database = openDatabase(
      { host: '127.0.0.1', port: 1, database: 'none', username: 'none' },
      { connections: 1 },
    )
    const settings = { target: '/t', retentionDays: 30, schedule: '0 3 * * *' }
    const runner = new BackupRunner({ database, deeds: NOTHING, logger: pino({ level: 'silent' }), settings })
    expect(await runner.step(NEVER)).toBeGreaterThan(await runnerOf().step(NEVER))
    await database.close()
  })
})

describe('a job whose process has died', () => {
  it('has failed, with all that it has held, and the next one is done', async () => {
    const id = await given({ status: 'running' })
    await holdRemovals(test.database, { name: id, job: id }, { signal: NEVER })
    await runnerOf().step(NEVER)
    expect(await found(id)).toMatchObject({ status: 'failed', error: expect.stringContaining('has ended') })
    expect(await isHeld(test.database, id)).toBe(false)
    await asked()
    await runnerOf().step(NEVER)
    expect(await statuses()).toEqual(['failed', 'completed'])
  })

  it('that has failed without letting go of what it held holds nothing any more, also where nothing else is to be done', async () => {
    const id = await given({ status: 'failed' })
    await test.admin`insert into storage.backup_holds (name, job) values ('left', ${id})`
    await runnerOf().step(NEVER)
    expect(await isHeld(test.database, 'left')).toBe(false)
  })

  it('is completed where its backup is whole: it was killed behind its manifest', async () => {
    const [id, restore] = [await given({ status: 'running' }), uuidV7()]
    const findWhole = async (job: BackupJob) => (job.id === id ? DONE : null)
    await runnerOf({ findWhole }).step(NEVER)
    expect(await found(id)).toMatchObject({ status: 'completed', progress: 1, error: null, ...DONE })
    expect((await found(id))?.expiresAt).not.toBeNull()
    await given({ id: restore, kind: 'restore', type: null, status: 'restoring' })
    await runnerOf({ findWhole: async () => DONE }).step(NEVER)
    expect((await found(restore))?.status).toBe('failed')
  })

  it('is not one that another process is at', async () => {
    const id = await given({ status: 'restoring', kind: 'restore', type: null })
    await test.database.exclusively(BACKUP_TURN, () => runnerOf().step(NEVER))
    expect((await found(id))?.status).toBe('restoring')
  })

  it('or that has lost the database, ends as failed, whatever its process believes', async () => {
    const id = await asked()
    const end = deferred<void>()
    let signal = NEVER
    const stepping = runnerOf({
      backup: async (run) => {
        signal = run.signal
        await end.promise
        return DONE
      },
    }).step(NEVER)
    await until(async () => (await found(id))?.status === 'running', 'it is under way')
    await test.admin`
      select pg_terminate_backend(pid) from strongroom.turns where name = ${BACKUP_TURN}
        and pid in (select pid from pg_stat_activity where datname = current_database())`
    await until(() => signal.aborted, 'its process is told')
    const next = runnerOf()
    await until(async () => {
      await next.step(NEVER)
      return (await found(id))?.status === 'failed'
    }, 'another server has found out')
    end.resolve()
    await stepping
    expect(await found(id)).toMatchObject({ status: 'failed', error: expect.stringContaining('has ended') })
  }, 60_000)
})

describe('an incremental backup', () => {
  const parentOf = async () => {
    const runs: JobRun[] = []
    const id = await asked({ type: 'incremental' })
    await runnerOf({ backup: doneBy((run) => runs.push(run)) }).step(NEVER)
    const [run] = runs
    expect(await found(id)).toMatchObject({ parent: run?.job.parent, type: run?.job.type })
    return run?.job
  }

  it('builds on the newest completed one of its target and buckets', async () => {
    const older = await given()
    await given({ status: 'failed' })
    await given({ status: 'expired' })
    await given({ target: '/elsewhere' })
    await given({ buckets: ['a'] })
    await given({ deleted_at: new Date().toISOString() })
    await given({ kind: 'restore', type: null, status: 'restored' })
    const first = await parentOf()
    expect(first).toMatchObject({ type: 'incremental', parent: older })
    expect(await parentOf()).toMatchObject({ type: 'incremental', parent: first?.id })
  })

  it('is a full one where there is none, and says so', async () => {
    const made = await parentOf()
    expect(made).toMatchObject({ type: 'full', parent: null })
    expect((await found(made?.id ?? ''))?.note).toBe('It is a full backup, as there was none to build on')
  })

  it('does not build on what somebody has taken out of the target, which expires', async () => {
    const older = await given()
    const lost = await given()
    const elsewhere = await given({ target: '/elsewhere' })
    const runs: JobRun[] = []
    const id = await asked({ type: 'incremental' })
    const idsIn = async (target: string) => {
      if (target === '/elsewhere') throw new BackupError('TargetUnavailable', 'It is away')
      return [older]
    }
    await runnerOf({ idsIn, backup: doneBy((run) => runs.push(run)) }).step(NEVER)
    expect(runs).toMatchObject([{ job: { id, parent: older } }])
    expect(await found(lost)).toMatchObject({ status: 'expired', note: 'It is not in its target any more' })
    expect([(await found(older))?.status, (await found(elsewhere))?.status]).toEqual([
      'completed',
      'completed',
    ])
  })
})

describe('what has expired', () => {
  const past = new Date(Date.now() - 1000).toISOString()
  const removing = () => {
    const removed: string[] = []
    const runner = runnerOf({ remove: async ({ id }) => void removed.push(id) })
    return { runner, removed }
  }

  it('is removed, but for what another one builds on', async () => {
    const parent = await given({ expires_at: past })
    const child = await given({
      expires_at: new Date(Date.now() + DAY_MS).toISOString(),
      parent,
      type: 'incremental',
    })
    const lonely = await given({ expires_at: past })
    const kept = await given()
    const { runner, removed } = removing()
    await runner.step(NEVER)
    expect(removed).toEqual([lonely])
    await test.admin`update storage.backup_jobs set expires_at = ${past} where id = ${child}`
    // One look for each, from the newest back.
    for (let i = 0; i < 2; i++) await removing().runner.step(NEVER)
    expect([await found(parent), await found(child), await found(lonely), await found(kept)]).toMatchObject([
      { status: 'expired' },
      { status: 'expired' },
      { status: 'expired' },
      { status: 'completed' },
    ])
  })

  it('is there until a restore of it has ended', async () => {
    const id = await given({ expires_at: past })
    const restore = await given({ kind: 'restore', type: null, status: 'restoring', parent: id })
    const { runner, removed } = removing()
    await test.database.exclusively(BACKUP_TURN, () => runner.step(NEVER))
    await test.admin`update storage.backup_jobs set status = 'restored' where id = ${restore}`
    expect(removed).toEqual([])
    const after = removing()
    await after.runner.step(NEVER)
    expect(after.removed).toEqual([id])
  })

  it('or was deleted, is removed and forgotten; of a restore there is nothing to remove', async () => {
    const deleted_at = new Date().toISOString()
    const id = await given({ deleted_at })
    const failed = await given({ deleted_at, status: 'failed' })
    await given({ deleted_at, kind: 'restore', type: null, status: 'restored' })
    const { runner, removed } = removing()
    await runner.step(NEVER)
    expect(removed.sort()).toEqual([id, failed].sort())
    expect(await statuses()).toEqual([])
  })

  it('stays where its target cannot be reached, while the others go, and is not tried again at once', async () => {
    const bad = await given({ expires_at: past })
    const good = await given({ expires_at: past })
    const tried: string[] = []
    const runner = runnerOf({
      remove: async ({ id }) => {
        tried.push(id)
        if (id === bad) throw new BackupError('TargetUnavailable', 'The disk is not there')
      },
    })
    for (let i = 0; i < 5; i++) await runner.step(NEVER)
    expect(tried.sort()).toEqual([bad, good].sort())
    expect(await found(bad)).toMatchObject({ status: 'completed' })
    expect(await found(good)).toMatchObject({ status: 'expired' })
  })

  it('is forgotten after months, as are failures', async () => {
    const created_at = new Date(Date.now() - 91 * DAY_MS).toISOString()
    for (const status of ['failed', 'expired', 'completed']) await given({ status, created_at })
    await given({ status: 'failed' })
    await asked()
    await runnerOf().step(NEVER)
    expect(await statuses()).toEqual(['completed', 'failed', 'completed'])
  })
})

describe('a schedule', () => {
  const settings = { schedule: '0 3 * * *' }
  const made = async () => {
    const rows = await test.admin`
      select type, created_by from storage.backup_jobs where created_by = 'schedule' order by id`
    return rows.map(({ type }) => String(type))
  }
  const at = (day: number, time: string) => new Date(`2026-11-${String(day).padStart(2, '0')}T${time}Z`)

  it('is kept by one of several servers', async () => {
    let now = at(1, '02:59:00')
    const runners = Array.from({ length: 3 }, (_, i) =>
      // Their clocks are not the same.
      runnerOf({}, { settings, now: () => new Date(now.getTime() + i * 700) }),
    )
    const step = () => Promise.all(runners.map((runner) => runner.step(NEVER)))
    await step()
    expect(await made()).toEqual([])
    for (const time of ['02:59:59', '03:00:00', '03:00:01', '03:00:02', '12:00:00']) {
      now = at(1, time)
      await step()
    }
    expect(await made()).toEqual(['full'])
    now = at(2, '03:00:00')
    for (let i = 0; i < 3; i++) await step()
    expect(await made()).toEqual(['full', 'incremental'])
    expect(await statuses()).toEqual(['completed', 'completed'])
  })

  it('makes up once for what was missed, and not again in another server', async () => {
    await runnerOf({}, { settings, now: () => at(1, '02:00:00') }).step(NEVER)
    const first = runnerOf({}, { settings, now: () => at(1, '03:00:00') })
    await first.step(NEVER)
    expect(await made()).toEqual([]) // never before: the next time is that of tomorrow
    let now = at(1, '02:59:00')
    const keeper = runnerOf({}, { settings, now: () => now })
    await keeper.step(NEVER)
    now = at(1, '03:00:00')
    await keeper.step(NEVER)
    expect(await made()).toHaveLength(1)
    // Nobody is there for three days.
    for (const time of ['10:00:00', '10:00:01', '10:05:00']) {
      await runnerOf({}, { settings, now: () => at(4, time) }).step(NEVER)
    }
    expect(await made()).toHaveLength(2)
  })

  it('leaves one out while another job is under way', async () => {
    let now = at(1, '02:59:00')
    const runner = runnerOf({}, { settings, now: () => now })
    await runner.step(NEVER)
    const id = await given({ status: 'restoring', kind: 'restore', type: null })
    await test.database.exclusively(BACKUP_TURN, async () => {
      now = at(1, '03:00:00')
      await runner.step(NEVER)
    })
    await test.admin`update storage.backup_jobs set status = 'restored' where id = ${id}`
    now = at(1, '03:00:10')
    await runner.step(NEVER)
    expect(await made()).toEqual([])
    now = at(2, '03:00:00')
    await runner.step(NEVER)
    expect(await made()).toEqual(['full'])
  })

  it('begins a week anew with a full one, so that those of before may expire', async () => {
    await given({ created_at: new Date(Date.now() - 8 * DAY_MS).toISOString() })
    let now = at(1, '02:59:00')
    const runner = runnerOf({}, { settings, now: () => now })
    await runner.step(NEVER)
    now = at(1, '03:00:00')
    await runner.step(NEVER)
    now = at(2, '03:00:00')
    await runner.step(NEVER)
    expect(await made()).toEqual(['full', 'incremental'])
  })
})
