import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FallbackBackend } from '../../src/backend/fallback.ts'
import { LocalBackend } from '../../src/backend/local/local-backend.ts'
import { NOTHING_YET, type Progress, type ResumableBackend } from '../../src/backend/resumable-backend.ts'
import type { Location } from '../../src/model/location.ts'
import { intercepted } from '../support/intercepted.ts'
import { describeBackend, newLocation, stream } from './contract.ts'
import { describeAppend } from './contract-append.ts'
import { describeParts } from './contract-parts.ts'

let root: string
let current: LocalBackend
let previous: LocalBackend
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'strongroom-fallback-'))
  current = new LocalBackend({ root: join(root, 'current'), fsync: false })
  previous = new LocalBackend({ root: join(root, 'previous'), fsync: false })
})
afterEach(() => rm(root, { recursive: true, force: true }))

describeBackend('FallbackBackend', async () => new FallbackBackend({ current, previous }), {
  leaveCheck: (name) => writeFile(join(root, 'previous', 'objects', name), name),
})
describeAppend('FallbackBackend', async () => async () => new FallbackBackend({ current, previous }))
describeParts('FallbackBackend', async () => async () => new FallbackBackend({ current, previous }))

describe('FallbackBackend', () => {
  const limit = { maxBytes: 64 * 1024 * 1024 }
  const bytes = randomBytes(300_000)
  let backend: FallbackBackend
  let at: Location
  beforeEach(() => {
    backend = new FallbackBackend({ current, previous })
    at = newLocation()
  })

  /** Every way to ask for the bytes at `at`, with the answer that says that they are there. */
  const looks: Record<string, (backend: ResumableBackend) => Promise<unknown>> = {
    read: async (backend) => (await buffer(await backend.read(at))).equals(bytes),
    'read with its size': async (backend) =>
      (await buffer(await backend.read(at, { size: bytes.length }))).equals(bytes),
    'read of a range': async (backend) =>
      (await buffer(await backend.read(at, { range: { start: 5, end: 9 } }))).equals(bytes.subarray(5, 10)),
    readWhole: async (backend) => bytes.equals(await backend.readWhole(at, bytes.length)),
    size: async (backend) => (await backend.size(at)) === bytes.length,
    exists: async (backend) => backend.exists(at),
    copy: async (backend) => {
      const to = newLocation()
      await backend.copy(at, to)
      return bytes.equals(await current.readWhole(to, bytes.length))
    },
  }
  const ways = Object.entries(looks)

  it('offers no direct address while the bytes are in a folder', async () => {
    await previous.write(at, bytes, limit)
    expect(await backend.directUrl(at, bytes.length, { 'Content-Type': 'text/plain' })).toBeNull()
  })

  it.each(ways)('finds by %s what only the previous backend has', async (_, look) => {
    await previous.write(at, bytes, limit)
    expect(await look(backend)).toBe(true)
  })

  it.each(ways)(
    'finds by %s what is in the current one, though the previous one has none',
    async (_, look) => {
      await current.write(at, bytes, limit)
      expect(await look(backend)).toBe(true)
    },
  )

  it.each(ways)('finds by %s what is moved and removed between its two looks', async (_, look) => {
    await previous.write(at, bytes, limit)
    let isMoved = false
    const movedAtOnce = intercepted(previous, async () => {
      if (isMoved) return
      isMoved = true
      await current.write(at, bytes, { ...limit, isNamed: true })
      await previous.remove(at)
    })
    expect(await look(new FallbackBackend({ current, previous: movedAtOnce }))).toBe(true)
    expect(isMoved).toBe(true)
  })

  it('writes to the current backend alone', async () => {
    const other = newLocation()
    await backend.write(at, bytes, limit)
    await backend.write(other, stream(bytes, 1000), limit)
    expect([await current.exists(at), await current.exists(other)]).toEqual([true, true])
    expect(await filesUnder('previous')).toEqual([])
  })

  describe('of a version that arrives in chunks', () => {
    const append = (to: ResumableBackend, from: Progress, chunk: Uint8Array) =>
      to.append(at, from, stream(chunk, 1000), {
        maxBytes: chunk.length,
        size: bytes.length,
        signal: new AbortController().signal,
        tap: () => {},
        onProgress: async () => {},
      })
    const half = bytes.length / 2

    it.each(['current', 'previous'])('goes on in the %s backend where it began', async (place) => {
      const began = place === 'current' ? backend : previous
      const { progress: middle } = await append(began, NOTHING_YET, bytes.subarray(0, half))
      const { progress: end } = await append(backend, middle, bytes.subarray(half))
      await backend.complete(at, end)
      expect(bytes.equals(await backend.readWhole(at, bytes.length))).toBe(true)
      expect([await filesUnder('current'), await filesUnder('previous')]).toEqual(
        place === 'current' ? [[at.version], []] : [[], [at.version]],
      )
    })

    it('begins in the current one, or not at all', async () => {
      await append(backend, NOTHING_YET, bytes.subarray(0, half))
      expect([await filesUnder('current'), await filesUnder('previous')]).toEqual([[at.version], []])
      at = newLocation()
      await rename(join(root, 'current', 'objects'), join(root, 'current', 'taken'))
      await expect(append(backend, NOTHING_YET, bytes)).rejects.toMatchObject({ code: 'BackendUnavailable' })
      expect(await filesUnder('previous')).toEqual([])
    })

    it.each(['current', 'previous'])('goes back in the %s backend where it began', async (place) => {
      const began = place === 'current' ? backend : previous
      const { progress: to } = await append(began, NOTHING_YET, bytes.subarray(0, half))
      const { progress: from } = await append(backend, to, bytes)
      await backend.goBack(at, { from, to })
      expect(await backend.size(at)).toBe(half)
    })

    it.each(['current', 'previous'])('leaves nothing of what is discarded from %s', async (place) => {
      const began = place === 'current' ? backend : previous
      await append(began, NOTHING_YET, bytes.subarray(0, half))
      await backend.discard(at)
      expect([await filesUnder('current'), await filesUnder('previous')]).toEqual([[], []])
    })
  })

  it('prefers the whole bytes of the previous backend to a part in the current one', async () => {
    await previous.write(at, bytes, limit)
    await current.write(at, bytes, limit)
    await truncate(pathOf('current', at), 1000)
    expect(bytes.equals(await backend.readWhole(at, bytes.length))).toBe(true)
    expect(bytes.equals(await buffer(await backend.read(at, { size: bytes.length })))).toBe(true)
  })

  it.each(['current', 'previous', 'both'])('leaves nothing of what is removed from %s', async (place) => {
    if (place !== 'previous') await current.write(at, bytes, limit)
    if (place !== 'current') await previous.write(at, bytes, limit)
    await backend.remove(at)
    expect([await filesUnder('current'), await filesUnder('previous')]).toEqual([[], []])
    await backend.remove(at)
  })

  it('leaves nothing of a copy across whose target exists', async () => {
    const to = newLocation()
    await previous.write(at, bytes, limit)
    await current.write(to, Buffer.from('there before'), limit)
    await expect(backend.copy(at, to)).rejects.toThrow()
    expect(Buffer.from(await current.readWhole(to, 12)).toString()).toBe('there before')
    expect(await filesUnder('current')).toEqual([to.version])
  })

  it('lists what either has', async () => {
    const both = newLocation(at.bucket)
    const elsewhere = newLocation()
    await previous.write(at, bytes, limit)
    await previous.write(both, bytes, limit)
    await current.write(both, bytes, limit)
    await current.write(elsewhere, bytes, limit)
    const list = async (bucket?: string) => {
      const versions: string[] = []
      for await (const { location } of backend.list(bucket)) versions.push(location.version)
      return versions.sort()
    }
    expect(await list()).toEqual([at, both, both, elsewhere].map(({ version }) => version).sort())
    expect(await list(at.bucket)).toEqual([at, both, both].map(({ version }) => version).sort())
  })

  it('removes the folders of a bucket from both, and says whether either has bytes left', async () => {
    await previous.write(at, bytes, limit)
    await current.write(newLocation(at.bucket), bytes, limit)
    for await (const { location } of current.list()) await current.remove(location)
    expect(await backend.removeFolders(at.bucket)).toBe(false)
    expect(await readdir(join(root, 'current', 'objects'))).toEqual([])
    await previous.remove(at)
    expect(await backend.removeFolders(at.bucket)).toBe(true)
    expect(await readdir(join(root, 'previous', 'objects'))).toEqual([])
  })

  describe.each(['current', 'previous'])('when the %s backend is away', (place) => {
    const unavailable = { code: 'BackendUnavailable' }
    beforeEach(() => rename(join(root, place, 'objects'), join(root, place, 'taken')))

    it.each(ways)('does not take bytes for missing by %s', async (_, look) => {
      await expect(look(backend)).rejects.toMatchObject(unavailable)
    })

    it('says so to whoever lists, checks or removes', async () => {
      await expect(backend.check()).rejects.toMatchObject(unavailable)
      await expect(backend.remove(at)).rejects.toMatchObject(unavailable)
      const list = async () => {
        for await (const { location } of backend.list()) expect(location).toBeDefined()
      }
      await expect(list()).rejects.toMatchObject(unavailable)
      await expect(backend.removeFolders(at.bucket)).rejects.toMatchObject(unavailable)
    })

    it('removes what the other one has all the same', async () => {
      const other = place === 'current' ? previous : current
      await other.write(at, bytes, limit)
      await expect(backend.remove(at)).rejects.toMatchObject(unavailable)
      expect(await other.exists(at)).toBe(false)
    })
  })

  it('serves what the current one has while the previous one is away', async () => {
    await current.write(at, bytes, limit)
    await rename(join(root, 'previous', 'objects'), join(root, 'previous', 'taken'))
    for (const [, look] of ways) expect(await look(backend)).toBe(true)
  })

  const filesUnder = async (place: string) => {
    const entries = await readdir(join(root, place, 'objects'), { recursive: true, withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name)
  }
  const pathOf = (place: string, { bucket, version }: Location) =>
    join(root, place, 'objects', bucket, version.slice(0, 2), version)
})
