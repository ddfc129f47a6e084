import { randomBytes } from 'node:crypto'
import { existsSync, readlinkSync } from 'node:fs'
import {
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import { NOTHING_YET, type Progress } from '../../../src/backend/resumable-backend.ts'
import type { Location } from '../../../src/model/location.ts'
import { type FileMishap, injectFileFaults } from '../../support/file-faults.ts'
import { until } from '../../support/wait.ts'
import { newLocation, stream } from '../contract.ts'

const MiB = 1024 * 1024

describe('LocalBackend, of a version that arrives in chunks,', () => {
  let root: string
  let backend: LocalBackend
  let at: Location
  /** What `append` has told of its progress. */
  let told: Progress[]
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'strongroom-chunks-'))
    backend = new LocalBackend({ root, fsync: true })
    at = newLocation()
    told = []
  })
  afterEach(async () => {
    vi.restoreAllMocks()
    await backend.close()
    await rm(root, { recursive: true, force: true })
  })

  const pathOf = ({ bucket, version }: Location) =>
    join(root, 'objects', bucket, version.slice(0, 2), version)
  const append = (from: Progress, body: Readable, onTold = (_: Progress) => {}) =>
    backend.append(at, from, body, {
      maxBytes: 4 * MiB,
      size: null,
      signal: new AbortController().signal,
      tap: () => {},
      onProgress: async (progress) => {
        told.push(progress)
        onTold(progress)
      },
    })
  const add = async (from: Progress, bytes: Uint8Array) =>
    (await append(from, stream(bytes, 60_013))).progress
  /** Paths of files below the backend's folder that this process has open. */
  const openFiles = async () => {
    const fds = await readdir('/proc/self/fd')
    const paths = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
    return paths.filter((path) => path.startsWith(root))
  }
  /** Lets a second pass between any two looks at the clock. */
  const hurry = () => {
    let clock = performance.now()
    vi.spyOn(performance, 'now').mockImplementation(() => {
      clock += 1000
      return clock
    })
  }

  it('keeps what a slow client has sent, though it fills no batch and nothing follows', async () => {
    const body = new Readable({ read: () => {} })
    const cutOff = new Error('cut off')
    const appending = append(NOTHING_YET, body, () => body.destroy(cutOff))
    body.push(Buffer.from('a few bytes'))
    expect(await appending).toEqual({ progress: { offset: 11, notes: null }, cut: cutOff })
    expect(told).toEqual([{ offset: 11, notes: null }])
  })

  it('keeps the chunks in one file, readable by nobody else', async () => {
    await add(await add(NOTHING_YET, Buffer.from('hel')), Buffer.from('lo'))
    expect(await readFile(pathOf(at), 'utf8')).toBe('hello')
    expect((await stat(pathOf(at))).mode & 0o777).toBe(0o600)
  })

  it.each([0, 999])(
    'takes 1000 bytes for missing when the file has %i, and reads nothing',
    async (length) => {
      const progress = await add(NOTHING_YET, randomBytes(1000))
      await truncate(pathOf(at), length)
      const body = stream(Buffer.from('unread'), 1)
      await expect(append(progress, body)).rejects.toMatchObject({ code: 'MissingBytes' })
      expect((await buffer(body)).toString()).toBe('unread')
      await backend.goBack(at, { to: progress })
      await expect(backend.complete(at, progress)).rejects.toMatchObject({ code: 'MissingBytes' })
      expect((await stat(pathOf(at))).size).toBe(length)
    },
  )

  describe.runIf(existsSync('/proc/self/fd'))('leaves a file open for its next chunk', () => {
    it('which goes on there, and for a moment only', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      try {
        const first = await add(NOTHING_YET, randomBytes(1000))
        expect(await openFiles()).toEqual([pathOf(at)])
        const bytes = randomBytes(2000)
        await add(first, bytes)
        expect(await openFiles()).toEqual([pathOf(at)])
        expect(bytes.equals((await readFile(pathOf(at))).subarray(1000))).toBe(true)
        vi.runAllTimers()
      } finally {
        vi.useRealTimers()
      }
      await until(async () => (await openFiles()).length === 0, 'it is closed')
    })

    it('unless that is removed, complete, or another file by now', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      try {
        await add(NOTHING_YET, randomBytes(1000))
        await backend.discard(at)
        await until(async () => (await openFiles()).length === 0, 'it is closed')
        await backend.complete(at, await add(NOTHING_YET, randomBytes(1000)))
        await until(async () => (await openFiles()).length === 0, 'it is closed')
        const progress = await add(NOTHING_YET, randomBytes(1000))
        const bytes = await readFile(pathOf(at))
        await unlink(pathOf(at))
        await writeFile(pathOf(at), bytes)
        const more = randomBytes(100)
        await add(progress, more)
        expect(await readFile(pathOf(at))).toEqual(Buffer.concat([bytes, more]))
        await backend.close()
        expect(await openFiles()).toEqual([])
      } finally {
        vi.useRealTimers()
      }
    })

    it('but not many', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      try {
        for (let i = 0; i < 40; i++) {
          at = newLocation()
          await add(NOTHING_YET, randomBytes(10))
        }
        expect((await openFiles()).length).toBe(32)
        await backend.close()
        expect(await openFiles()).toEqual([])
      } finally {
        vi.useRealTimers()
      }
    })
  })

  it.runIf(existsSync('/proc/self/fd'))('keeps no file open when its chunks are at an end', async () => {
    const progress = await add(NOTHING_YET, randomBytes(1000))
    await expect(add({ offset: 1001, notes: null }, randomBytes(5))).rejects.toThrow()
    await expect(add(progress, randomBytes(5 * MiB))).rejects.toThrow()
    const gone = stream(randomBytes(2000), 100)
    gone.destroy()
    await append(progress, gone)
    await backend.complete(at, await add(progress, randomBytes(5)))
    await backend.complete(newLocation(), NOTHING_YET)
    await until(async () => (await openFiles()).length === 0, 'all are closed')
  })

  it('goes on where the disk took less than it was given', async () => {
    const probe = await open(root, 'r')
    const handle = Object.getPrototypeOf(probe)
    await probe.close()
    const original = handle.writev
    let calls = 0
    vi.spyOn(handle, 'writev').mockImplementation(async function (this: unknown, ...[chunks, position]) {
      const [first, ...rest] = chunks as [Buffer, ...Buffer[]]
      // Now a part of the first chunk, now all of it and a part of the next.
      const some =
        ++calls % 2 ? [first.subarray(0, 700)] : [first, ...rest.slice(0, 1).map((b) => b.subarray(0, 1))]
      return Reflect.apply(original, this, [some, position])
    })
    const bytes = randomBytes(20_000)
    const progress = await add(NOTHING_YET, bytes.subarray(0, 100))
    await append(progress, stream(bytes.subarray(100), 1000))
    expect(calls).toBeGreaterThan(10)
    expect(bytes.equals(await readFile(pathOf(at)))).toBe(true)
  })

  describe.runIf(existsSync('/proc/self/fd'))('flushes', () => {
    const shard = () => join('objects', at.bucket, at.version.slice(0, 2))
    /** What is flushed from now on: names of folders, or how much of the version. */
    const flushes = async () => {
      const flushed: (string | number)[] = []
      const probe = await open(root, 'r')
      const handle = Object.getPrototypeOf(probe)
      await probe.close()
      const original = handle.sync
      vi.spyOn(handle, 'sync').mockImplementation(async function (this: unknown) {
        const file = this as FileHandle
        const path = readlinkSync(`/proc/self/fd/${file.fd}`)
        const { size } = await file.stat()
        await Reflect.apply(original, file, [])
        flushed.push(path === pathOf(at) ? size : relative(root, path))
      })
      return flushed
    }

    it('what it tells of before it tells, and all before it answers', async () => {
      const flushed = await flushes()
      hurry()
      const progress = await append(NOTHING_YET, stream(randomBytes(3 * MiB), 60_013), ({ offset }) => {
        const lengths = flushed.filter((one) => typeof one === 'number')
        expect(Math.max(...lengths)).toBeGreaterThanOrEqual(offset)
        expect(flushed).toEqual(expect.arrayContaining([shard(), join('objects', at.bucket), 'objects']))
      })
      expect(told.length).toBeGreaterThan(0)
      expect(progress.progress.offset).toBe(3 * MiB)
      expect(flushed).toContain(3 * MiB) // not as the last one: another flush may end behind it
    })

    it('that bytes which nobody wants are gone', async () => {
      await add(NOTHING_YET, randomBytes(1000))
      const flushed = await flushes()
      await add({ offset: 500, notes: null }, Buffer.alloc(0))
      expect(flushed).toEqual([500])
      await backend.complete(at, NOTHING_YET)
      expect(flushed.slice(1).sort()).toEqual([0, shard()])
    })

    it('an empty version and its name', async () => {
      const flushed = await flushes()
      await backend.complete(at, NOTHING_YET)
      expect(flushed).toEqual(expect.arrayContaining([0, shard(), join('objects', at.bucket), 'objects']))
    })
  })

  const mishaps: FileMishap[] = [
    { code: 'ENOSPC', kind: 'undone' },
    { code: 'EIO', kind: 'undone' },
    { code: 'EIO', kind: 'done' },
  ]
  it.each(mishaps)('loses nothing when any of its calls to the disk fails: $code, $kind', async (mishap) => {
    const faults = injectFileFaults(join(root, 'objects'))
    hurry()
    const code = mishap.code === 'ENOSPC' ? 'StorageFull' : 'BackendUnavailable'
    const bytes = randomBytes(MiB + 1000)
    const failed: string[] = []
    /** Lets call `step` fail of a chunk that goes on at `length`, its file open or not. @returns whether there was such a call */
    const failAt = async (step: number, length: number, isOpen: boolean) => {
      at = newLocation()
      let from = NOTHING_YET
      if (length > 0) {
        from = await add(NOTHING_YET, bytes.subarray(0, length))
        await add(from, randomBytes(5000)) // not wanted
      }
      if (!isOpen) await backend.close()
      told = [from]
      faults.arm(step, mishap)
      const outcome = await add(from, bytes.subarray(length)).catch((error: unknown) => ({ error }))
      const { hasStruck, calls } = faults
      faults.arm(0)
      if (!hasStruck) return false
      failed.push(calls[step - 1] ?? '')
      let end: Progress
      if ('error' in outcome) {
        expect(outcome.error).toMatchObject({ code })
        const last = told.at(-1) ?? from
        end = await add(last, bytes.subarray(last.offset))
      } else {
        // Of a file that is closed, or in a folder that is not there yet, or of one that is opened anew; or the disk is full,
        // and what has come is kept.
        const harmless = [
          'close',
          'open',
          ...(isOpen ? ['stat'] : []),
          ...(code === 'StorageFull' ? ['writev'] : []),
        ]
        expect(harmless).toContain(failed.at(-1))
        end = await add(outcome, bytes.subarray(outcome.offset))
      }
      await backend.complete(at, end)
      expect(bytes.equals(await backend.readWhole(at, bytes.length))).toBe(true)
      return true
    }
    try {
      for (let step = 1; await failAt(step, 0, false); step++);
      for (let step = 1; await failAt(step, 1000, false); step++);
      for (let step = 1; await failAt(step, 1000, true); step++);
    } finally {
      faults.restore()
    }
    expect(failed).toEqual(expect.arrayContaining(['open', 'stat', 'truncate', 'writev', 'sync', 'close']))
  })

  it('is unavailable, and does not say that bytes are missing, when its disk is taken away', async () => {
    const progress = await add(NOTHING_YET, randomBytes(1000))
    await rename(join(root, 'objects'), join(root, 'taken'))
    const unavailable = { code: 'BackendUnavailable' }
    for (const from of [NOTHING_YET, progress]) {
      const body = stream(Buffer.from('unread'), 1)
      await expect(append(from, body)).rejects.toMatchObject(unavailable)
      expect((await buffer(body)).toString()).toBe('unread')
      await expect(backend.complete(at, from)).rejects.toMatchObject(unavailable)
    }
    await expect(backend.goBack(at, { to: progress })).rejects.toMatchObject(unavailable)
    await expect(backend.discard(at)).rejects.toMatchObject(unavailable)
    expect(await readdir(root)).toEqual(['taken'])
  })

  it('does not say that bytes are missing when it cannot begin', async () => {
    const shard = dirname(pathOf(at))
    await mkdir(dirname(shard))
    await symlink(join(root, 'nowhere'), shard)
    const unavailable = { code: 'BackendUnavailable' }
    await expect(add(NOTHING_YET, Buffer.from('x'))).rejects.toMatchObject(unavailable)
    await expect(backend.complete(at, NOTHING_YET)).rejects.toMatchObject(unavailable)
  })
})
