import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openBackends } from '../../../src/backend/open.ts'
import { unnamedVersions } from '../../../src/database/queries/backend-moves.ts'
import {
  forgetHolds,
  holdRemovals,
  isHeld,
  type OpenTransaction,
  releaseHold,
} from '../../../src/database/queries/backup-holds.ts'
import { endHold } from '../../../src/jobs/backup/held-removals.ts'
import { InlineMove } from '../../../src/jobs/inline-move.ts'
import { CLEANUP_TURN } from '../../../src/jobs/turns.ts'
import { cleanUp, fileOf, isThere, repairsOf } from '../../support/cleanup.ts'
import { IN_FILES, startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

// Holds (decision 0058): what a backup has seen keeps its bytes until it is done.

const NEVER = new AbortController().signal
const logger = pino({ level: 'silent' })

let server: TestServer
beforeEach(async () => {
  server = await startTestServer(IN_FILES)
  await server.createBucket('b')
})
afterEach(() => server.close())

const put = async (name: string, body: string) => {
  const headers = { 'x-upsert': 'true' }
  const { status } = await server.request('POST', `/object/b/${name}`, { headers, body })
  expect([200, 201]).toContain(status)
}
const hold = (name = 'a backup', { signal = NEVER, job = null as string | null } = {}) =>
  holdRemovals(server.database, { name, job }, { signal })
const release = async (name = 'a backup') => {
  const { database } = server
  const backend = await openBackends(server.config)
  await endHold({ database, backend, logger }, name, NEVER).finally(() => backend.close())
}
const removals = async () => Number((await server.admin`select count(*) from storage.removals`)[0]?.count)
/** The files of all rows, as one snapshot shows them. */
const namedFiles = async () => {
  const rows = await server.admin`
    select coalesce(o.bytes_bucket, b.uid) || '/' || left(version, 2) || '/' || version as file
    from storage.objects o join storage.buckets b on b.id = o.bucket_id order by 1`
  return rows.map(({ file }) => String(file))
}
/** Whether somebody waits for the lock of a trigger. */
const isWaiting = async () => {
  const rows = await server.admin`
    select from pg_locks where locktype = 'advisory' and not granted
      and database = (select oid from pg_database where datname = current_database())`
  return rows.length > 0
}
const missingOf = (files: string[]) =>
  files.filter((file) => !existsSync(join(server.dataDir, 'objects', file)))

describe('bytes that a row has named', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['an overwrite', () => put('a.txt', 'new')],
    ['an overwrite in parts of a large file', () => put('a.txt', 'x'.repeat(3_000_000))],
    ['a deletion', () => server.request('DELETE', '/object/b/a.txt')],
    ['a deletion of several', () => server.request('DELETE', '/object/b', { body: { prefixes: ['a.txt'] } })],
    [
      'a copy over it',
      () =>
        server.request('POST', '/object/copy', {
          body: { bucketId: 'b', sourceKey: 'z.txt', destinationKey: 'a.txt' },
          headers: { 'x-upsert': 'true' },
        }),
    ],
    ['the emptying of its bucket', () => server.request('POST', '/bucket/b/empty', { body: {} })],
    [
      'the deletion of its bucket',
      async () => {
        await server.request('POST', '/bucket/b/empty', { body: {} })
        await server.request('DELETE', '/bucket/b')
      },
    ],
    [
      'the cleanup after a deletion by plain SQL',
      async () => {
        await server.admin`
          select set_config('storage.allow_delete_query', 'true', false), * from (values (1)) v`
        await server.admin`delete from storage.objects where name = 'a.txt'`
      },
    ],
  ])('outlast %s while they are held, and go at once when they are not any more', async (_, change) => {
    await put('a.txt', 'old')
    await put('z.txt', 'other')
    const file = await fileOf(server, 'b', 'a.txt')
    await hold()
    await change()
    expect(await namedFiles()).not.toContain(file.slice(join(server.dataDir, 'objects/').length))
    expect(repairsOf(await cleanUp(server)).removal).toBeUndefined()
    expect(await isThere(file)).toBe(true)

    await release()
    expect(await isThere(file)).toBe(false)
    expect(await removals()).toBe(0)
    expect(missingOf(await namedFiles())).toEqual([])
  })

  it('go at once when nobody holds them', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    await put('a.txt', 'new')
    await until(async () => !(await isThere(file)), 'the replaced bytes are gone')
  })

  it('stay for as long as anybody holds them', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    await hold('one')
    await hold('two')
    await put('a.txt', 'new')
    await release('one')
    expect([await isThere(file), await isHeld(server.database, 'two')]).toEqual([true, true])
    await release('two')
    expect(await isThere(file)).toBe(false)
  })

  it('that are gone already stay on the list with their row, and go with the hold', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    await rm(file)
    await cleanUp(server)
    await hold()
    expect(repairsOf(await cleanUp(server)).deleted).toBe(1)
    expect(await removals()).toBe(1)
    await release()
    expect(await removals()).toBe(0)
  })

  it('are left in the backend when they go into the database meanwhile', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    await hold()
    const { database } = server
    const backend = await openBackends(server.config)
    const move = new InlineMove({ database, backend, logger, inlineSize: 16_384 })
    const report = await move.run('in', { signal: NEVER, waitMs: 60_000, rate: 1000 })
    await backend.close()
    expect([report?.moved, await isThere(file)]).toEqual([1, true])
    await release()
    expect(await isThere(file)).toBe(false)
    expect(await (await server.request('GET', '/object/b/a.txt')).text()).toBe('old')
  })

  it('are no leftovers of a move to another backend', async () => {
    const versions = ['00000000-0000-4000-8000-000000000001']
    expect([...(await unnamedVersions(server.database, versions))]).toEqual(versions)
    await hold()
    expect([...(await unnamedVersions(server.database, versions))]).toEqual([])
  })

  it('are there for every snapshot behind a hold, however many write at the same time', async () => {
    const names = Array.from({ length: 6 }, (_, i) => `${i}.txt`)
    for (const name of names) await put(name, 'first')
    let writes = 0
    const stopping = new AbortController()
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let i = writer; !stopping.signal.aborted; i++) {
        const name = names[i % names.length] ?? ''
        if (i % 7 === 0) await server.request('DELETE', `/object/b/${name}`)
        else await put(name, `${writer} ${i}`)
        writes++
      }
    })
    try {
      for (let round = 0; round < 10; round++) {
        await hold(`round ${round}`)
        const files = await namedFiles()
        const before = writes
        await until(() => writes > before + 20, 'all is written anew')
        expect(missingOf(files)).toEqual([])
        await release(`round ${round}`)
      }
    } finally {
      stopping.abort()
      await Promise.all(writers)
    }
    // An overwrite that has seen the last hold, and committed behind its end, has left its removal to the cleanup.
    await cleanUp(server)
    expect(await removals()).toBe(0)
    expect((await server.storedFiles()).sort()).toEqual(await namedFiles())
  })
})

describe('a hold', () => {
  it('waits for an overwrite that has looked for holds before it and commits after it', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    // At its commit, when the server has been told what it may remove, the overwrite waits for this lock.
    await server.admin.unsafe(`
      create function public.wait_at_commit() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(4711); return null; end $$;
      create constraint trigger wait_at_commit after update on storage.objects
        deferrable initially deferred for each row execute function public.wait_at_commit()`)
    const order: string[] = []
    let overwriting: Promise<unknown> = Promise.resolve()
    let holding: Promise<unknown> = Promise.resolve()
    await server.admin.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(4711)`
      overwriting = put('a.txt', 'new').then(() => order.push('overwritten'))
      await until(isWaiting, 'the overwrite is about to commit')
      holding = hold().then(() => order.push('held'))
      await until(async () => isHeld(server.database, 'a backup'), 'the hold is there')
      // Whoever did not wait would be through by now.
      for (let i = 0; i < 20; i++) await isHeld(server.database, 'a backup')
      expect([order, await isThere(file)]).toEqual([[], true])
    })
    await Promise.all([overwriting, holding])
    // Its bytes may go: nobody behind the hold sees their row.
    expect(await (await server.request('GET', '/object/b/a.txt')).text()).toBe('new')
    expect(missingOf(await namedFiles())).toEqual([])
    await until(async () => !(await isThere(file)), 'the replaced bytes are gone')
  })

  it('is seen by an overwrite that has begun before it and looks after it', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    // While the row is written, before it looks.
    await server.admin.unsafe(`
      create function public.wait_there() returns trigger language plpgsql as $$
        begin perform pg_advisory_xact_lock(4711); return null; end $$;
      create trigger wait_there after update on storage.objects for each row execute function public.wait_there()`)
    let overwriting: Promise<unknown> = Promise.resolve()
    let holding: Promise<unknown> = Promise.resolve()
    await server.admin.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(4711)`
      overwriting = put('a.txt', 'new')
      await until(isWaiting, 'the overwrite is under way')
      holding = hold()
      await until(async () => isHeld(server.database, 'a backup'), 'the hold is there')
    })
    await Promise.all([overwriting, holding])
    expect([await isThere(file), await removals()]).toEqual([true, 1])
    await release()
    expect(await isThere(file)).toBe(false)
  })

  it('says what it waits for, and is taken back when nobody wants it any more', async () => {
    const stopping = new AbortController()
    const told: OpenTransaction[][] = []
    let pid: unknown
    await server.admin.begin(async (tx) => {
      const [row] = await tx`select pg_backend_pid() as pid, pg_current_xact_id()`
      pid = row?.pid
      const onWait = (transactions: OpenTransaction[]) => {
        told.push(transactions)
        stopping.abort(new Error('no more'))
      }
      const waiting = { signal: stopping.signal, onWait }
      await expect(holdRemovals(server.database, { name: 'a', job: null }, waiting)).rejects.toThrow()
    })
    // Other tests' transactions, too, which are as much in the way.
    expect(told).toEqual([expect.arrayContaining([expect.objectContaining({ pid })])])
    expect(await isHeld(server.database, 'a')).toBe(false)
  }, 60_000)

  it('ends with its job, when nobody releases it', async () => {
    const id = '019ad000-0000-7000-8000-000000000001'
    await server.admin`
      insert into storage.backup_jobs (id, kind, type, status, target) values (${id}, 'backup', 'full', 'running', '/t')`
    await hold('of a job', { job: id })
    await hold('for ever')
    expect(await forgetHolds(server.database)).toBe(0)
    await server.admin`update storage.backup_jobs set status = 'failed'`
    expect(await forgetHolds(server.database)).toBe(1)
    expect([await isHeld(server.database, 'of a job'), await isHeld(server.database, 'for ever')]).toEqual([
      false,
      true,
    ])
    await releaseHold(server.database, 'for ever')
    await releaseHold(server.database, 'for ever')
    expect(await isHeld(server.database, 'for ever')).toBe(false)
  })

  it('that ends beside a cleanup leaves the removals to it', async () => {
    await put('a.txt', 'old')
    const file = await fileOf(server, 'b', 'a.txt')
    await hold()
    await put('a.txt', 'new')
    await server.database.exclusively(CLEANUP_TURN, () => release())
    expect(await isThere(file)).toBe(true)
    expect(repairsOf(await cleanUp(server))).toEqual({ removal: 1 })
    expect(await isThere(file)).toBe(false)
  })
})
