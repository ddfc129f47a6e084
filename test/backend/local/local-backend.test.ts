import { execFileSync } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readlinkSync } from 'node:fs'
import {
  chmod,
  type FileHandle,
  link,
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import type { Location } from '../../../src/model/location.ts'
import { isFull } from '../../faults/size.ts'
import { injectFileFaults } from '../../support/file-faults.ts'
import { until } from '../../support/wait.ts'
import { describeBackend, newLocation, stream } from '../contract.ts'
import { describeAppend } from '../contract-append.ts'
import { describeParts } from '../contract-parts.ts'

const MiB = 1024 * 1024
const isRoot = process.platform === 'linux' && process.getuid?.() === 0

let root: string
let mounted: string[]
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'strongroom-local-'))
  mounted = []
})
afterEach(async () => {
  for (const path of mounted.reverse()) execFileSync('umount', ['--lazy', path])
  await rm(root, { recursive: true, force: true })
})

const leaveCheck = (name: string) => writeFile(join(root, 'objects', name), name)
describeBackend('LocalBackend with fsync', async () => new LocalBackend({ root, fsync: true }), {
  leaveCheck,
})
describeAppend('LocalBackend with fsync', async () => async () => new LocalBackend({ root, fsync: true }))
describeParts('LocalBackend with fsync', async () => async () => new LocalBackend({ root, fsync: true }))
// Without fsync less can go wrong, and fallback.test.ts asks the same of two of these together.
if (isFull) {
  const open = async () => new LocalBackend({ root, fsync: false })
  describeBackend('LocalBackend', open, { leaveCheck })
  describeAppend('LocalBackend', async () => open)
  describeParts('LocalBackend', async () => open)
}

describe('LocalBackend', () => {
  const limit = { maxBytes: 64 * MiB }
  let backend: LocalBackend
  let at: Location
  beforeEach(() => {
    backend = new LocalBackend({ root, fsync: true })
    at = newLocation()
  })

  const pathOf = ({ bucket, version }: Location) =>
    join(root, 'objects', bucket, version.slice(0, 2), version)
  const filesUnder = async (folder: string) => {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
  }
  const listed = async () => {
    const versions: string[] = []
    for await (const { location } of backend.list()) versions.push(location.version)
    return versions
  }

  it('stores a version under its bucket and its first two digits, readable by nobody else', async () => {
    await backend.write(at, Buffer.from('hello'), limit)
    const path = pathOf(at)
    expect(await readFile(path, 'utf8')).toBe('hello')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    for (const folder of [dirname(path), dirname(dirname(path)), join(root, 'objects')]) {
      expect((await stat(folder)).mode & 0o777).toBe(0o700)
    }
  })

  it('makes a data folder that does not exist, with the folders above it', async () => {
    const deep = new LocalBackend({ root: join(root, 'a/b/c'), fsync: true })
    await deep.write(at, Buffer.from('hello'), limit)
    expect((await deep.readWhole(at, 5)).length).toBe(5)
  })

  it('finds everything again when opened a second time', async () => {
    await backend.write(at, Buffer.from('hello'), limit)
    await backend.close()
    const again = new LocalBackend({ root, fsync: true })
    expect(await buffer(await again.read(at))).toEqual(Buffer.from('hello'))
  })

  it('leaves no file of a failed upload', async () => {
    const body = stream(randomBytes(3 * MiB), 65_536)
    await expect(backend.write(at, body, { maxBytes: 2 * MiB })).rejects.toThrow()
    expect(await filesUnder(root)).toEqual([])
  })

  it('goes on when somebody has removed its empty folders', async () => {
    await backend.write(at, Buffer.from('x'), limit)
    await rm(join(root, 'objects', at.bucket), { recursive: true })
    await backend.write(at, Buffer.from('y'), limit)
    await rm(join(root, 'objects', at.bucket), { recursive: true })
    await backend.write(at, stream(Buffer.from('streamed'), 3), limit)
    expect(await readFile(pathOf(at), 'utf8')).toBe('streamed')
  })

  it('takes a file that was cut short for missing when it is read whole', async () => {
    await backend.write(at, randomBytes(1000), limit)
    await truncate(pathOf(at), 999)
    await expect(backend.readWhole(at, 1000)).rejects.toMatchObject({ code: 'MissingBytes' })
  })

  it('lists only what it has written itself', async () => {
    await backend.write(at, Buffer.from('x'), limit)
    const shard = dirname(pathOf(at))
    await writeFile(join(root, 'objects', 'README'), '')
    await writeFile(join(root, 'objects', randomUUID()), '')
    await mkdir(join(root, 'objects', 'lost+found'))
    await writeFile(join(root, 'objects', at.bucket, 'ff'), '').catch(() => {}) // unless it is the shard
    await writeFile(join(root, 'objects', at.bucket, 'notes'), '')
    await writeFile(join(shard, `${at.version}.bak`), '')
    await writeFile(join(shard, at.version.toUpperCase()), '')
    await mkdir(join(shard, `${at.version.slice(0, 2)}${randomUUID().slice(2)}`))
    await writeFile(join(shard, `${at.version.startsWith('00') ? '11' : '00'}${randomUUID().slice(2)}`), '')
    expect(await listed()).toEqual([at.version])
  })

  describe.runIf(existsSync('/proc/self/fd'))('flushes', () => {
    /** Paths below `objects/` that were flushed while `work` ran, in order; the version's own is 'file'. */
    const flushedBy = async (work: () => Promise<unknown>, { version }: Location) => {
      const probe = await openFile(root, 'r')
      await probe.close()
      const flushed: string[] = []
      const original = Object.getPrototypeOf(probe).sync
      const spy = vi.spyOn(Object.getPrototypeOf(probe), 'sync')
      spy.mockImplementation(async function (this: FileHandle) {
        flushed.push(readlinkSync(`/proc/self/fd/${this.fd}`))
        return Reflect.apply(original, this, [])
      })
      await work()
      spy.mockRestore()
      return flushed.map((path) => (path.endsWith(version) ? 'file' : relative(root, path)))
    }
    const shardOf = ({ bucket, version }: Location) => join('objects', bucket, version.slice(0, 2))
    const neighbour = () => ({ ...at, version: at.version.slice(0, 2) + randomUUID().slice(2) })
    const bucket = () => join('objects', at.bucket)

    it('a file and its name, and the names of folders that are new', async () => {
      const write = () => backend.write(at, Buffer.from('x'), limit)
      expect(await flushedBy(write, at)).toEqual(['file', shardOf(at), bucket(), 'objects'])
    })

    it('no folder twice that it knows, unless it was removed meanwhile', async () => {
      await backend.write(neighbour(), Buffer.from('x'), limit)
      const write = () => backend.write(at, stream(Buffer.from('xyz'), 2), limit)
      expect(await flushedBy(write, at)).toEqual(['file', shardOf(at)])

      await rm(join(root, 'objects', at.bucket), { recursive: true })
      expect(await flushedBy(write, at)).toEqual(['file', shardOf(at), bucket(), 'objects'])
    })

    it('folders that another process may have just made', async () => {
      await new LocalBackend({ root, fsync: false }).write(neighbour(), Buffer.from('x'), limit)
      const write = () => backend.write(at, Buffer.from('x'), limit)
      expect(await flushedBy(write, at)).toEqual(['file', shardOf(at), bucket(), 'objects'])
    })

    it('a version that has readers before it gets its name, and then the name', async () => {
      await backend.write(neighbour(), Buffer.from('x'), limit)
      const write = () => backend.write(at, Buffer.from('x'), { ...limit, isNamed: true })
      const [draft, folderOfDraft, ...rest] = await flushedBy(write, at)
      expect(draft?.startsWith(`${bucket()}/`) && draft.split('/')).toHaveLength(4)
      expect([folderOfDraft, rest]).toEqual([dirname(draft ?? ''), expect.arrayContaining([shardOf(at)])])
      expect(rest.at(-1)).toBe(shardOf(at))
    })

    it('the name of a copy', async () => {
      const to = neighbour()
      await backend.write(at, Buffer.from('x'), limit)
      expect(await flushedBy(() => backend.copy(at, to), to)).toEqual([shardOf(to)])
    })

    it('a folder once for all who have come before that begins, and again for who comes after', async () => {
      await backend.write(neighbour(), Buffer.from('x'), limit)
      const probe = await openFile(root, 'r')
      await probe.close()
      const original = Object.getPrototypeOf(probe).sync
      const begun: (() => void)[] = []
      let files = 0
      vi.spyOn(Object.getPrototypeOf(probe), 'sync').mockImplementation(async function (this: FileHandle) {
        const isShard = readlinkSync(`/proc/self/fd/${this.fd}`).endsWith(shardOf(at))
        if (isShard) await new Promise<void>((resolve) => begun.push(resolve))
        else files++
        await Reflect.apply(original, this, [])
      })
      const done: string[] = []
      const write = (name: string) =>
        backend.write(neighbour(), Buffer.from('x'), limit).then(() => done.push(name))
      const first = write('first')
      await until(() => begun.length === 1, 'the flush for the first begins')
      const others = ['second', 'third'].map(write)
      await until(() => files === 3, 'all have come')
      begun[0]?.()
      await first
      await until(() => begun.length === 2, 'a flush for the others begins')
      expect(done).toEqual(['first'])
      begun[1]?.()
      await Promise.all(others)
      vi.restoreAllMocks()
      expect(begun).toHaveLength(2)
    })

    it('three files at once at most, so that a thread is left for those who read', async () => {
      const probe = await openFile(root, 'r')
      await probe.close()
      const original = Object.getPrototypeOf(probe).sync
      let [running, most] = [0, 0]
      vi.spyOn(Object.getPrototypeOf(probe), 'sync').mockImplementation(async function (this: unknown) {
        most = Math.max(most, ++running)
        await Reflect.apply(original, this, [])
        running--
      })
      await Promise.all(
        Array.from({ length: 20 }, () => backend.write(newLocation(), Buffer.from('x'), limit)),
      )
      vi.restoreAllMocks()
      expect([running, most]).toEqual([0, 3])
    })

    it('nothing when told not to', async () => {
      const fast = new LocalBackend({ root, fsync: false })
      const work = async () => {
        await fast.write(at, Buffer.from('x'), limit)
        await fast.copy(at, newLocation())
      }
      expect(await flushedBy(work, at)).toEqual([])
    })
  })

  describe('copy', () => {
    it('shares the bytes of its source', async () => {
      const to = newLocation()
      await backend.write(at, randomBytes(1000), limit)
      await backend.copy(at, to)
      expect((await stat(pathOf(to))).ino).toBe((await stat(pathOf(at))).ino)
    })

    it('looks new to the cleanup even if its source is old', async () => {
      const to = newLocation()
      await backend.write(at, randomBytes(1000), limit)
      await utimes(pathOf(at), 0, 0)
      await backend.copy(at, to)
      for await (const { modifiedAt } of backend.list(to.bucket)) {
        expect(modifiedAt.getTime()).toBeGreaterThan(Date.now() - 60_000)
      }
    })

    it.runIf(isRoot)('makes a file of its own when the bucket is on another disk', async () => {
      const to = newLocation()
      const bytes = randomBytes(MiB)
      mountTmpfs(join(root, 'objects', to.bucket), '4m')
      await backend.write(at, bytes, limit)
      await backend.copy(at, to)
      expect(bytes.equals(await readFile(pathOf(to)))).toBe(true)
      expect((await stat(pathOf(to))).mode & 0o777).toBe(0o600)
      await expect(backend.copy(at, to)).rejects.toMatchObject({ code: 'EEXIST' })
      expect(bytes.equals(await readFile(pathOf(to)))).toBe(true)
      await expect(backend.copy(newLocation(), newLocation(to.bucket))).rejects.toMatchObject({
        code: 'MissingBytes',
      })
    })

    it.runIf(isRoot)('leaves nothing when the other disk is full', async () => {
      const to = newLocation()
      mountTmpfs(join(root, 'objects', to.bucket), '1m')
      await backend.write(at, randomBytes(3 * MiB), limit)
      await expect(backend.copy(at, to)).rejects.toMatchObject({ code: 'StorageFull' })
      expect(await filesUnder(join(root, 'objects', to.bucket))).toEqual([])
    })

    it('makes a file of its own when the disk says that the source has too many names', async () => {
      await backend.write(at, Buffer.from('popular'), limit)
      const faults = injectFileFaults(root)
      let refused = 0
      faults.before = async (call) => {
        if (call !== 'link') return
        refused++
        throw Object.assign(new Error('EMLINK: injected, link'), { code: 'EMLINK' })
      }
      const to = newLocation()
      await backend.copy(at, to).finally(() => faults.restore())
      expect([refused, await readFile(pathOf(to), 'utf8')]).toEqual([1, 'popular'])
      expect((await stat(pathOf(to))).nlink).toBe(1)
    })

    it.runIf(isFull)(
      'makes a file of its own when the source has too many names',
      {
        timeout: 120_000,
      },
      async (context) => {
        await backend.write(at, Buffer.from('popular'), limit)
        const extra = join(root, 'extra')
        await mkdir(extra)
        let refused = false
        for (let i = 0; i < 70_000 && !refused; i += 500) {
          const links = Array.from({ length: 500 }, (_, j) => link(pathOf(at), join(extra, `${i + j}`)))
          const results = await Promise.allSettled(links)
          refused = results.some(({ status }) => status === 'rejected')
        }
        if (!refused) return context.skip('this file system takes more links than are worth making')
        const to = newLocation()
        await backend.copy(at, to)
        expect(await readFile(pathOf(to), 'utf8')).toBe('popular')
        expect((await stat(pathOf(to))).nlink).toBe(1)
      },
    )
  })

  describe.runIf(existsSync('/proc/self/fd'))('keeps no file open', () => {
    const openFiles = async () => {
      const fds = await readdir('/proc/self/fd')
      const paths = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
      return paths.filter((path) => path.startsWith(root))
    }
    const nothingOpen = () => vi.waitFor(async () => expect(await openFiles()).toEqual([]))

    it('after reads that ended, were broken off or never began', async () => {
      await backend.write(at, randomBytes(5 * MiB), limit)
      for (let i = 0; i < 10; i++) {
        await buffer(await backend.read(at))
        await buffer(await backend.read(at, { range: { start: 5, end: 9 } }))
        const half = await backend.read(at)
        await once(half, 'data')
        half.destroy()
        const unread = await backend.read(at)
        unread.destroy()
        await backend.readWhole(at, 5 * MiB)
        await expect(backend.readWhole(at, 3)).rejects.toThrow()
      }
      await nothingOpen()
    })

    it('after writes that succeeded or failed', async () => {
      await backend.write(at, randomBytes(1000), limit)
      await expect(backend.write(at, randomBytes(1000), limit)).rejects.toThrow()
      await expect(
        backend.write(newLocation(), stream(randomBytes(2000), 100), { maxBytes: 1000 }),
      ).rejects.toThrow()
      const gone = stream(randomBytes(2000), 100)
      gone.destroy()
      await expect(backend.write(newLocation(), gone, limit)).rejects.toThrow()
      expect(await openFiles()).toEqual([])
    })
  })

  describe('when its disk is taken away', () => {
    beforeEach(async () => {
      await backend.write(at, Buffer.from('hello'), limit)
      await rename(join(root, 'objects'), join(root, 'taken'))
    })

    it('is unavailable to everyone, and calls nothing lost or removed', async () => {
      const unavailable = { code: 'BackendUnavailable' }
      const other = newLocation(at.bucket)
      await expect(backend.write(other, Buffer.from('x'), limit)).rejects.toMatchObject(unavailable)
      await expect(backend.write(other, stream(Buffer.from('x'), 1), limit)).rejects.toMatchObject(
        unavailable,
      )
      await expect(backend.read(at)).rejects.toMatchObject(unavailable)
      await expect(backend.readWhole(at, 5)).rejects.toMatchObject(unavailable)
      await expect(backend.copy(at, other)).rejects.toMatchObject(unavailable)
      await expect(backend.remove(at)).rejects.toMatchObject(unavailable)
      await expect(backend.size(at)).rejects.toMatchObject(unavailable)
      await expect(backend.exists(at)).rejects.toMatchObject(unavailable)
      await expect(listed()).rejects.toMatchObject(unavailable)
      await expect(backend.list(at.bucket).next()).rejects.toMatchObject(unavailable)
    })

    it('does not fill the disk below instead', async () => {
      await expect(backend.write(newLocation(), Buffer.from('x'), limit)).rejects.toThrow()
      await expect(backend.check()).rejects.toThrow()
      expect(await readdir(root)).toEqual(['taken'])
    })

    it('tells the operator, and is well again when the disk is back', async () => {
      await expect(backend.check()).rejects.toMatchObject({
        code: 'BackendUnavailable',
        message: 'The data folder is missing: is its disk mounted?',
      })
      await rename(join(root, 'taken'), join(root, 'objects'))
      await backend.check()
      expect((await backend.readWhole(at, 5)).length).toBe(5)
    })
  })

  it('says why it cannot start', async () => {
    await writeFile(join(root, 'file'), '')
    expect(() => new LocalBackend({ root: join(root, 'file'), fsync: true })).toThrow(
      expect.objectContaining({
        code: 'BackendUnavailable',
        message: 'The data folder is not a folder',
      }),
    )
  })

  it.skipIf(process.getuid?.() === 0)('is unavailable where the server may not write', async () => {
    await chmod(join(root, 'objects'), 0o500)
    await expect(backend.write(at, Buffer.from('x'), limit)).rejects.toMatchObject({
      code: 'BackendUnavailable',
    })
    await expect(backend.check()).rejects.toMatchObject({
      message: 'The server may not write to the data folder',
    })
    await chmod(join(root, 'objects'), 0o700)
  })

  describe.runIf(isRoot)('on a small disk', () => {
    /** Opens the backend on a disk of 2 MiB of its own. */
    const openSmallDisk = () => {
      const disk = join(root, 'disk')
      mountTmpfs(disk, '2m')
      backend = new LocalBackend({ root: disk, fsync: true })
      return disk
    }

    it('says that it is full, whatever form the body has, and keeps no part of it', async () => {
      const disk = openSmallDisk()
      const large = randomBytes(3 * MiB)
      await expect(backend.write(at, large, limit)).rejects.toMatchObject({ code: 'StorageFull' })
      const body = stream(large, 65_536)
      await expect(backend.write(at, body, limit)).rejects.toMatchObject({ code: 'StorageFull' })
      expect(await filesUnder(disk)).toEqual([])
      await backend.write(at, large.subarray(0, MiB), limit)
    })

    it('tells the operator that it is full', async () => {
      const disk = openSmallDisk()
      await writeFile(join(disk, 'filler'), Buffer.alloc(3 * MiB)).catch(() => {})
      await expect(backend.check()).rejects.toMatchObject({
        code: 'BackendUnavailable',
        message: 'The disk of the data folder is full',
      })
      expect(await filesUnder(disk)).toEqual(['filler'])
    })

    it('still reads when the disk has become read-only, and is unavailable for the rest', async () => {
      const disk = openSmallDisk()
      await backend.write(at, Buffer.from('hello'), limit)
      execFileSync('mount', ['-o', 'remount,ro', disk])
      const unavailable = { code: 'BackendUnavailable' }
      expect((await backend.readWhole(at, 5)).length).toBe(5)
      await expect(backend.write(newLocation(), Buffer.from('x'), limit)).rejects.toMatchObject(unavailable)
      await expect(backend.copy(at, newLocation())).rejects.toMatchObject(unavailable)
      await expect(backend.remove(at)).rejects.toMatchObject(unavailable)
      await expect(backend.check()).rejects.toMatchObject({ message: 'The data folder is read-only' })
    })

    it('is unavailable when the disk is unmounted', async () => {
      const disk = openSmallDisk()
      await backend.write(at, Buffer.from('hello'), limit)
      execFileSync('umount', [disk])
      mounted = mounted.filter((path) => path !== disk)
      await expect(backend.write(newLocation(), Buffer.from('x'), limit)).rejects.toMatchObject({
        code: 'BackendUnavailable',
      })
      await expect(backend.check()).rejects.toMatchObject({ code: 'BackendUnavailable' })
      expect(await readdir(disk)).toEqual([])
    })
  })

  function mountTmpfs(path: string, size: string): void {
    execFileSync('mkdir', ['-p', path])
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path])
    mounted.push(path)
  }
})
