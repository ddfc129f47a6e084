import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pino from 'pino'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { BackendMove, type MoveReport, type MoveRequest } from '../../src/jobs/backend-move.ts'
import { fileOf } from '../support/cleanup.ts'
import { intercepted } from '../support/intercepted.ts'
import { IN_FILES, startTestServer, type TestServer } from '../support/server.ts'

const MiB = 1024 * 1024
const NEVER = new AbortController().signal

// A server on one folder, and another folder to move to.
let server: TestServer
let elsewhere: string
let source: LocalBackend
let target: LocalBackend
beforeEach(async () => {
  server = await startTestServer(IN_FILES)
  await server.createBucket('b')
  elsewhere = await mkdtemp(join(tmpdir(), 'strongroom-move-'))
  source = new LocalBackend({ root: server.dataDir, fsync: false })
  target = new LocalBackend({ root: elsewhere, fsync: false })
})
afterEach(async () => {
  await server.close()
  await rm(elsewhere, { recursive: true, force: true })
})

async function move(
  request: Partial<MoveRequest> = {},
  backends: { source?: Backend; target?: Backend; isTargetRead?: boolean } = {},
): Promise<MoveReport> {
  const { database } = server
  const direction = { source: 'here', target: 'there' }
  const logger = pino({ level: 'silent' })
  const worker = new BackendMove({ database, source, target, direction, logger, ...backends })
  const report = await worker.run({ parallel: 8, signal: NEVER, ...request })
  if (report === null) throw new Error('somebody else is moving')
  return report
}

const upload = async (name: string, body: string | object = `the bytes of ${name}`) =>
  expect((await server.request('PUT', `/object/b/${name}`, { body })).ok).toBe(true)
async function uploadMany(count: number): Promise<void> {
  const names = Array.from({ length: count }, (_, i) => `${i}.txt`)
  while (names.length > 0) await Promise.all(names.splice(0, 20).map((name) => upload(name)))
}

const inTarget = (file: string) => file.replace(server.dataDir, elsewhere)
const filesUnder = async (root: string) => {
  const entries = await readdir(join(root, 'objects'), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length))
    .sort()
}
/** That the target has the bytes of every row, and nothing else unless leftovers are allowed. */
async function expectAllMoved({ leftovers = false } = {}): Promise<void> {
  const rows = await server.admin`
    select '/objects/' || coalesce(o.bytes_bucket, b.uid) || '/' || left(version, 2) || '/' || version as file, checksum
    from storage.objects o join storage.buckets b on b.id = o.bucket_id order by 1`
  const files = rows.map(({ file }) => file)
  expect(await filesUnder(elsewhere)).toEqual(leftovers ? expect.arrayContaining(files) : files)
  for (const { file, checksum } of rows) {
    expect(
      createHash('sha256')
        .update(await readFile(join(elsewhere, file)))
        .digest('hex'),
    ).toBe(checksum)
  }
}

describe('the move to another backend', () => {
  it('copies every object under the same location, and leaves the source as it is', async () => {
    await upload('small.txt')
    await upload('empty.txt', '')
    await upload('large.bin', randomBytes(2 * MiB))
    const before = await filesUnder(server.dataDir)
    const report = await move()
    expect(report).toMatchObject({
      ending: 'complete',
      failures: { count: 0 },
      state: { copied: 3, copiedBytes: 2 * MiB + 22, total: 3, done: 3, isFinished: true },
    })
    await expectAllMoved()
    expect(await filesUnder(server.dataDir)).toEqual(before)
  })

  it('leaves bytes in the database where they are, also those of an object that was a file', async () => {
    const inside = await server.beside({ STORAGE_INLINE_SIZE: '16384' })
    const replace = (name: string) => inside.request('PUT', `/object/b/${name}`, { body: 'inside' })
    expect((await replace('inside.txt')).ok).toBe(true)
    await upload('outside.txt')
    await upload('first.txt')
    const busy = intercepted(source, async (method) => {
      if (method === 'readWhole') await replace('first.txt')
    })
    const report = await move({ parallel: 1 }, { source: busy })
    expect(report).toMatchObject({ ending: 'complete', inTarget: 1, failures: { count: 0 } })
    expect((await server.request('GET', '/object/b/inside.txt')).ok).toBe(true)
    await inside.close()
  })

  it('copies an object that was moved to another bucket', async () => {
    await server.createBucket('other')
    await upload('a.txt')
    const move_ = { bucketId: 'b', sourceKey: 'a.txt', destinationBucket: 'other', destinationKey: 'a.txt' }
    expect((await server.request('POST', '/object/move', { body: move_ })).ok).toBe(true)
    expect(await move()).toMatchObject({ ending: 'complete', state: { copied: 1 } })
    await expectAllMoved()
  })

  it('finds nothing to copy the second time, and copies what came in between', async () => {
    await uploadMany(3)
    await move()
    expect((await move()).state).toMatchObject({ copied: 0, done: 3 })
    await upload('later.txt')
    expect((await move()).state).toMatchObject({ copied: 1, done: 4 })
    await expectAllMoved()
  })

  it('tells how far it is', async () => {
    await upload('small.txt', 'x'.repeat(1000))
    await upload('large.bin', randomBytes(4 * MiB))
    const seen: { pass: number; done: number; doneBytes: number }[] = []
    await move({
      parallel: 1,
      onProgress: ({ done, doneBytes }, pass) => seen.push({ pass, done, doneBytes }),
    })
    // Also in the middle of the large one.
    expect(seen.some(({ doneBytes }) => doneBytes > 1000 && doneBytes < 4 * MiB)).toBe(true)
    expect(seen.at(-1)).toEqual({ pass: 2, done: 2, doneBytes: 4 * MiB + 1000 })
    expect(Math.max(...seen.map(({ doneBytes }) => doneBytes))).toBe(4 * MiB + 1000)
  })

  it('goes on where it was interrupted, and copies nothing twice', async () => {
    await uploadMany(450)
    const stop = new AbortController()
    const onProgress = ({ done }: { done: number }) => done >= 300 && stop.abort()
    const interrupted = await move({ signal: stop.signal, onProgress })
    expect(interrupted.ending).toBe('interrupted')
    expect(interrupted.state).toMatchObject({ done: 200, isFinished: false })
    const first = interrupted.copied
    expect(first).toBeGreaterThanOrEqual(300)
    expect(interrupted.inTarget).toBe(first)
    let writes = 0
    const counted = intercepted(target, async (method) => void (method === 'write' && writes++))
    const seen: number[] = []
    const report = await move({ onProgress: ({ done }) => seen.push(done) }, { target: counted })
    expect(report).toMatchObject({
      ending: 'complete',
      state: { copied: 450, done: 450 },
      copied: 450 - first,
      inTarget: 450,
    })
    expect(seen[0]).toBe(201)
    expect(writes).toBe(450 - first)
    await expectAllMoved()
  })

  it('looks at all objects again after an interruption, as some may be uploaded between two runs', async () => {
    await uploadMany(201)
    await move()
    // A pass that found nothing is interrupted on its second page, long ago.
    const [last] = await server.admin`select id from storage.objects order by id desc limit 1`
    await server.admin`update storage.moves set finished_at = null, position = ${last?.id}`
    await uploadMany(10)
    await server.admin`update storage.objects set id = ('00000000-0000-4000-8000-00000000000' || left(name, 1))::uuid
      where name ~ '^[0-9].txt$'`
    expect(await move()).toMatchObject({ ending: 'complete', failures: { count: 0 } })
    await expectAllMoved({ leftovers: true }) // versions that were replaced between the two
  })

  it('shows nothing of a large object before it has all of it', async () => {
    await upload('large.bin', randomBytes(8 * MiB))
    const file = inTarget(await fileOf(server, 'b', 'large.bin'))
    const seen: boolean[] = []
    const onProgress = ({ done }: { done: number }) => void (done === 0 && seen.push(existsSync(file)))
    expect(await move({ onProgress })).toMatchObject({ ending: 'complete', state: { copied: 1 } })
    expect(seen.length).toBeGreaterThan(5)
    expect(seen).not.toContain(true)
  })

  it('breaks off in the middle of a large object, and leaves nothing of it', async () => {
    await upload('large.bin', randomBytes(8 * MiB))
    const stop = new AbortController()
    const onProgress = ({ doneBytes }: { doneBytes: number }) => doneBytes > 0 && stop.abort()
    const report = await move({ signal: stop.signal, onProgress })
    expect(report).toMatchObject({ ending: 'interrupted', state: { copied: 0, done: 0, doneBytes: 0 } })
    expect(await filesUnder(elsewhere)).toEqual([])
    expect(await move()).toMatchObject({ ending: 'complete', state: { copied: 1 } })
    await expectAllMoved()
  })

  it.each([1, 1000, 3 * MiB])(
    'finds a damaged object of %i bytes, marks it, and does not move it',
    async (size) => {
      await upload('good.txt')
      await upload('bad.bin', randomBytes(size))
      const file = await fileOf(server, 'b', 'bad.bin')
      const damaged = await readFile(file)
      damaged[0] = (damaged[0] ?? 0) ^ 1
      await writeFile(file, damaged)
      const report = await move()
      expect(report.failures).toEqual({
        count: 1,
        named: [{ bucketId: 'b', name: 'bad.bin', why: 'its bytes are damaged' }],
      })
      expect(report).toMatchObject({ ending: 'complete', state: { copied: 1 } })
      expect(await filesUnder(elsewhere)).toHaveLength(1)
      expect((await server.request('GET', '/object/b/bad.bin')).status).toBe(500)
      expect((await move()).failures.count).toBe(1)
    },
  )

  it('takes an object that is cut short for damaged, and does not mark one without bytes', async () => {
    await upload('cut.txt')
    await upload('gone.txt')
    await truncate(await fileOf(server, 'b', 'cut.txt'), 5)
    await rm(await fileOf(server, 'b', 'gone.txt'))
    const { failures } = await move()
    expect(failures.named.sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
      { bucketId: 'b', name: 'cut.txt', why: 'its bytes are damaged' },
      { bucketId: 'b', name: 'gone.txt', why: 'there are no bytes of it' },
    ])
    const marks = await server.admin`select quarantine_reason as reason from storage.objects order by name`
    expect(marks.map(({ reason }) => reason)).toEqual(['corrupted', null])
    expect(await filesUnder(elsewhere)).toEqual([])
  })

  it('is content with an object that only the target has', async () => {
    await upload('a.txt')
    await move()
    await rm(await fileOf(server, 'b', 'a.txt'))
    expect(await move()).toMatchObject({ ending: 'complete', failures: { count: 0 }, state: { copied: 0 } })
  })

  it('takes the mark of a missing object away only if servers read the target', async () => {
    await upload('copied.txt')
    await upload('there.txt')
    await upload('damaged.txt')
    await move()
    await rm(inTarget(await fileOf(server, 'b', 'copied.txt')))
    await server.admin`update storage.objects set quarantined_at = now(),
      quarantine_reason = case name when 'damaged.txt' then 'corrupted' else 'missing' end`
    const marks = async () => {
      const rows = await server.admin`select quarantine_reason as reason from storage.objects order by name`
      return rows.map(({ reason }) => reason)
    }
    await move()
    expect(await marks()).toEqual(['missing', 'corrupted', 'missing'])
    await rm(inTarget(await fileOf(server, 'b', 'copied.txt')))
    expect(await move({}, { isTargetRead: true })).toMatchObject({
      ending: 'complete',
      copied: 1,
      inTarget: 3,
    })
    expect(await marks()).toEqual([null, 'corrupted', null])
  })

  it('writes anew what is in the target with another size', async () => {
    await upload('a.txt')
    const file = inTarget(await fileOf(server, 'b', 'a.txt'))
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, 'the byt')
    expect(await move()).toMatchObject({ ending: 'complete', state: { copied: 1 } })
    await expectAllMoved()
  })

  it('copies rows that plain SQL made without hash or size', async () => {
    await upload('no-hash.bin', randomBytes(MiB))
    await upload('no-size.txt')
    await upload('neither.txt')
    await server.admin`update storage.objects set checksum = null where name <> 'no-size.txt'`
    await server.admin`update storage.objects set metadata = metadata - 'size' where name <> 'no-hash.bin'`
    expect(await move()).toMatchObject({ ending: 'complete', failures: { count: 0 }, state: { copied: 3 } })
    expect(await filesUnder(elsewhere)).toEqual(await filesUnder(server.dataDir))
    expect((await move()).state.copied).toBe(0)
  })

  it('copies what is uploaded during the run, wherever it stands in the order', async () => {
    await uploadMany(5)
    let isLate = false
    const busy = intercepted(target, async (method) => {
      if (method !== 'write' || isLate) return
      isLate = true
      for (let i = 0; i < 20; i++) await upload(`late-${i}.txt`)
    })
    expect(await move({}, { target: busy })).toMatchObject({ ending: 'complete', state: { copied: 25 } })
    await expectAllMoved()
  })

  it('ends when there is no end to what comes in, and says so', async () => {
    await uploadMany(3)
    const busy = intercepted(target, async (method) => {
      if (method === 'write') await upload(`${randomUUID()}.txt`)
    })
    const report = await move({}, { target: busy })
    expect(report).toMatchObject({ ending: 'busy', state: { isFinished: false } })
    expect(await move()).toMatchObject({ ending: 'complete' })
    await expectAllMoved()
  })

  it('follows an object that is replaced before it is read, and takes none that is deleted for work to do', async () => {
    await uploadMany(3)
    let replaced = 0
    const busy = intercepted(source, async (method) => {
      if (method !== 'readWhole' || replaced === 10) return
      await upload('0.txt', `version ${replaced++}`)
      await server.request('DELETE', '/object/b/1.txt')
      await upload('1.txt')
    })
    const report = await move({ parallel: 1 }, { source: busy })
    expect(report).toMatchObject({ ending: 'complete', failures: { count: 0 } })
    expect(replaced).toBe(10)
    await expectAllMoved()
  })

  it.each(['deleted', 'replaced'])(
    'leaves no copy of an object that is %s while it is copied',
    async (how) => {
      await upload('kept.txt')
      await upload('changing.txt')
      let isChanged = false
      const busy = intercepted(target, async (method) => {
        if (method !== 'write' || isChanged) return
        isChanged = true
        if (how === 'deleted') await server.request('DELETE', '/object/b/changing.txt')
        else await upload('changing.txt', 'other bytes')
      })
      // Its bytes have been read by then.
      expect(await move({ parallel: 2 }, { target: busy })).toMatchObject({
        ending: 'complete',
        failures: { count: 0 },
      })
      await expectAllMoved()
    },
  )

  it.each(['deleted', 'replaced'])(
    'does not mind an object that is %s just before it is read',
    async (how) => {
      await upload('changing.txt')
      let isChanged = false
      const busy = intercepted(source, async (method) => {
        if (method !== 'readWhole' || isChanged) return
        isChanged = true
        if (how === 'deleted') await server.request('DELETE', '/object/b/changing.txt')
        else await upload('changing.txt', 'other bytes')
      })
      expect(await move({}, { source: busy })).toMatchObject({ ending: 'complete', failures: { count: 0 } })
      await expectAllMoved()
    },
  )

  it('stops when a backend goes away, and goes on when it is back', async () => {
    await uploadMany(250)
    let writes = 0
    const failing = intercepted(target, async (method) => {
      if (method === 'write' && ++writes === 220) {
        await rename(join(elsewhere, 'objects'), join(elsewhere, 'taken'))
      }
    })
    await expect(move({}, { target: failing })).rejects.toMatchObject({ code: 'BackendUnavailable' })
    await rename(join(elsewhere, 'taken'), join(elsewhere, 'objects'))
    const seen: number[] = []
    expect(await move({ onProgress: ({ done }) => seen.push(done) })).toMatchObject({ ending: 'complete' })
    expect(seen[0]).toBe(201)
    await expectAllMoved({ leftovers: true }) // a draft that could not be removed

    await rename(join(server.dataDir, 'objects'), join(server.dataDir, 'taken'))
    await expect(move()).rejects.toMatchObject({ code: 'BackendUnavailable' })
    await rename(join(server.dataDir, 'taken'), join(server.dataDir, 'objects'))
  })

  it('is done by one process at a time', async () => {
    await upload('a.txt')
    let second: unknown
    const slow = intercepted(target, async (method) => {
      if (method === 'write') second = await move().catch((error) => error.message)
    })
    expect(await move({}, { target: slow })).toMatchObject({ ending: 'complete' })
    expect(second).toBe('somebody else is moving')
  })

  it('moves back again, and finds the old bytes there', async () => {
    await uploadMany(3)
    await move()
    const { state } = await move({}, { source: target, target: source })
    expect(state).toMatchObject({ copied: 0, done: 3 })
  })
})
