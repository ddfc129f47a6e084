import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { JoinedFile } from '../../../src/backend/local/joined-files.ts'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import type { Part } from '../../../src/backend/resumable-backend.ts'
import type { Location } from '../../../src/model/location.ts'
import { injectFileFaults } from '../../support/file-faults.ts'
import { newLocation } from '../contract.ts'
import { describeParts } from '../contract-parts.ts'

const roots: string[] = []
const newRoot = async () => {
  const root = await mkdtemp(join(tmpdir(), 'strongroom-joined-'))
  roots.push(root)
  return root
}
afterAll(() => Promise.all(roots.map((root) => rm(root, { recursive: true, force: true }))))

describeParts('LocalBackend that copies nothing', async () => {
  const root = await newRoot()
  return async () => new LocalBackend({ root, fsync: true, mostCopied: 0 })
})

describe('a version that consists of several files', () => {
  let root: string
  let backend: LocalBackend
  let at: Location
  let parts: Part[]
  const bytes = [randomBytes(700_000), randomBytes(1), randomBytes(300_000)]
  const whole = Buffer.concat(bytes)
  beforeEach(async () => {
    root = await newRoot()
    backend = new LocalBackend({ root, fsync: true, mostCopied: 0 })
    at = newLocation()
    parts = []
    for (const [i, part] of bytes.entries()) {
      parts.push(await backend.writePart(at, i + 1, part, { size: part.length }))
    }
  })
  afterEach(() => backend.close())

  const pathOf = ({ bucket, version }: Location) =>
    join(root, 'objects', bucket, version.slice(0, 2), version)
  const files = async () => {
    const entries = await readdir(root, { recursive: true, withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  }
  const inodes = async (of: string[]) =>
    new Set(await Promise.all(of.map(async (path) => (await stat(path)).ino)))

  const withoutLinks = (onCopy = () => {}) => {
    const faults = injectFileFaults(root)
    faults.before = async (call) => {
      if (call === 'link') throw Object.assign(new Error('EPERM: injected, link'), { code: 'EPERM' })
      if (call === 'copyFile') onCopy()
    }
    return faults
  }

  it('is made without writing a byte of them again', async () => {
    const before = await inodes(await files())
    await backend.assemble(at, parts)
    const after = await inodes((await files()).filter((path) => !path.endsWith(`0-${at.version}`)))
    expect(after).toEqual(before)
    expect(whole.equals(await buffer(await backend.read(at)))).toBe(true)
    expect(whole.equals(await backend.readWhole(at, whole.length))).toBe(true)
    await expect(backend.readWhole(at, whole.length - 1)).rejects.toMatchObject({ code: 'MissingBytes' })
  })

  it.each([
    [0, 0],
    [699_999, 699_999],
    [699_990, 700_010],
    [700_000, 700_000],
    [700_001, 1_000_000],
    [5, 999_999],
  ])('is read from %i to %i', async (start, end) => {
    await backend.assemble(at, parts)
    const range = await buffer(await backend.read(at, { range: { start, end } }))
    expect(range.equals(whole.subarray(start, end + 1))).toBe(true)
  })

  it('is copied by other names of its files, and each can be removed', async () => {
    await backend.assemble(at, parts)
    const to = newLocation()
    await backend.copy(at, to)
    await backend.remove(at)
    expect(await backend.size(at)).toBeNull()
    expect(whole.equals(await buffer(await backend.read(to)))).toBe(true)
    await backend.remove(to)
    await backend.remove(to)
    expect(await files()).toEqual([])
  })

  it('is copied byte by byte where its files can have no other names', async () => {
    await backend.assemble(at, parts)
    const to = newLocation()
    const before = await inodes(await files())
    const faults = withoutLinks()
    await backend.copy(at, to).finally(() => faults.restore())
    expect((await inodes(await files())).size).toBe(2 * before.size)
    await backend.remove(at)
    expect(whole.equals(await buffer(await backend.read(to)))).toBe(true)
  })

  it('leaves nothing when such a copy finds no room', async () => {
    await backend.assemble(at, parts)
    const before = await files()
    let copied = 0
    const faults = withoutLinks(() => {
      if (++copied === 2) throw Object.assign(new Error('ENOSPC: injected, copyFile'), { code: 'ENOSPC' })
    })
    const copying = backend.copy(at, newLocation()).finally(() => faults.restore())
    await expect(copying).rejects.toMatchObject({ code: 'StorageFull' })
    expect(copied).toBe(2)
    expect(await files()).toEqual(before)
  })

  it('is not there without its list, and what is left of it can be found and removed', async () => {
    await backend.assemble(at, parts)
    await rm(join(pathOf(at), `0-${at.version}`))
    expect(await backend.exists(at)).toBe(false)
    await expect(backend.read(at)).rejects.toMatchObject({ code: 'MissingBytes' })
    const found = []
    for await (const { location, size } of backend.list()) found.push({ location, size })
    expect(found).toEqual([{ location: at, size: 0 }])
    await backend.remove(at)
    expect(await files()).toEqual([])
  })

  it('is read at the end of ten thousand files as soon as at the beginning', async () => {
    await writeFile(join(root, 'byte'), 'x')
    const file = new JoinedFile(root, Array(10_000).fill({ name: 'byte', size: 1 }))
    const best = async (position: number) => {
      const taken: number[] = []
      for (let round = 0; round < 5; round++) {
        const begun = performance.now()
        for (let n = 0; n < 200; n++) await file.read(Buffer.alloc(1), 0, 1, position)
        taken.push(performance.now() - begun)
      }
      return Math.min(...taken)
    }
    const [first, last] = [await best(0), await best(9999)]
    await file.close()
    expect(last / first).toBeLessThan(4) // to look at each of them first takes thirty times as long
  })

  it('breaks where one of them has lost bytes', async () => {
    await backend.assemble(at, parts)
    await truncate(join(pathOf(at), `3-${parts[2]?.notes}`), 299_999)
    await expect(buffer(await backend.read(at))).rejects.toMatchObject({ code: 'MissingBytes' })
  })
})
