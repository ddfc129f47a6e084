import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { MemoryBackend } from '../../src/backend/memory-backend.ts'
import { NOTHING_YET } from '../../src/backend/resumable-backend.ts'
import { describeBackend, newLocation, stream } from './contract.ts'
import { describeAppend } from './contract-append.ts'
import { describeParts } from './contract-parts.ts'

const MiB = 1024 * 1024
const inMemory = { inMemory: true }

/** One, as several servers would have it. */
const openStore = async () => {
  const backend = new MemoryBackend(512 * MiB)
  return async () => backend
}
describeBackend('MemoryBackend', async () => new MemoryBackend(64 * MiB), inMemory)
describeAppend('MemoryBackend', openStore, undefined, inMemory)
describeParts('MemoryBackend', openStore, undefined, inMemory)

describe('MemoryBackend', () => {
  const full = { code: 'StorageFull' }
  const limit = { maxBytes: 10 * MiB }
  const open = () => new MemoryBackend(MiB)
  const append = (backend: MemoryBackend, at = newLocation(), length = 2 * MiB) =>
    backend.append(at, NOTHING_YET, stream(randomBytes(length), 60_013), {
      maxBytes: 10 * MiB,
      size: null,
      signal: new AbortController().signal,
      tap: () => {},
      onProgress: async () => {},
    })

  it('takes as much as its limit, and not a byte more', async () => {
    const backend = open()
    await backend.write(newLocation(), randomBytes(MiB - 1), limit)
    await expect(backend.write(newLocation(), randomBytes(2), limit)).rejects.toMatchObject(full)
    await expect(backend.writePart(newLocation(), 1, randomBytes(2), { size: 2 })).rejects.toMatchObject(full)
    await backend.write(newLocation(), randomBytes(1), limit)
    await expect(backend.write(newLocation(), stream(randomBytes(1), 1), limit)).rejects.toMatchObject(full)
  })

  it('keeps of a chunk what has found room', async () => {
    const backend = new MemoryBackend(3 * MiB)
    const at = newLocation()
    const { progress, cut } = await append(backend, at, 5 * MiB)
    expect(cut).toMatchObject(full)
    expect(progress.offset).toBeGreaterThan(0)
    expect(await backend.size(at)).toBe(progress.offset)
    await backend.discard(at)
    await backend.write(at, randomBytes(3 * MiB), limit)
  })

  it('counts nothing twice, and nothing that is gone', async () => {
    const backend = open()
    const whole = randomBytes(MiB)
    for (let round = 0; round < 3; round++) {
      const at = newLocation()
      await backend.write(at, whole, limit)
      await backend.remove(at)
      await expect(backend.write(at, stream(randomBytes(2 * MiB), 65_536), limit)).rejects.toMatchObject(full)
      const parts = [
        await backend.writePart(at, 1, whole.subarray(0, 1000), { size: 1000 }),
        await backend.writePart(at, 2, whole.subarray(1000), { size: MiB - 1000 }),
      ]
      await backend.assemble(at, parts)
      await expect(backend.copy(at, newLocation())).rejects.toMatchObject(full)
      expect(whole.equals(await buffer(await backend.read(at)))).toBe(true)
      await backend.remove(at)
      const removed = await backend.writePart(at, 1, whole, { size: MiB })
      await backend.removePart(at, removed)
      const { progress } = await append(backend, at, MiB)
      await backend.goBack(at, { to: NOTHING_YET })
      expect(progress.offset).toBe(MiB)
      await backend.discard(at)
    }
  })

  it('keeps a copy of what it was given', async () => {
    const backend = open()
    const at = newLocation()
    const given = Buffer.from('as it was')
    await backend.write(at, given, limit)
    given.fill(0)
    expect(Buffer.from(await backend.readWhole(at, 9)).toString()).toBe('as it was')
  })
})
