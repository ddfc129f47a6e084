import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readdir, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LocalBackend } from '../../../src/backend/local/local-backend.ts'
import type { Part } from '../../../src/backend/resumable-backend.ts'
import type { Location } from '../../../src/model/location.ts'
import { type FileMishap, injectFileFaults } from '../../support/file-faults.ts'
import { newLocation, stream } from '../contract.ts'

const MiB = 1024 * 1024

describe('LocalBackend, of a version that comes in parts,', () => {
  let root: string
  let backend: LocalBackend
  let at: Location
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'strongroom-parts-'))
    backend = new LocalBackend({ root, fsync: true })
    at = newLocation()
  })
  afterEach(() => rm(root, { recursive: true, force: true }))

  const fileOf = ({ number, notes }: Part) =>
    join(root, 'objects/parts', at.bucket, at.version, `${number}-${notes}`)
  const write = (number: number, bytes: Buffer) =>
    backend.writePart(at, number, bytes, { size: bytes.length })
  const unfinished = () => all(backend.unfinished())
  const filesLeft = async () => {
    const entries = await readdir(root, { recursive: true, withFileTypes: true })
    return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
  }

  it('makes the file of the first part that of the version, and copies the others alone', async () => {
    const bytes = [randomBytes(3 * MiB), randomBytes(1000)] as const
    const parts = [await write(1, bytes[0]), await write(2, bytes[1])] as const
    const { ino } = await stat(fileOf(parts[0]))
    await backend.assemble(at, [...parts])
    const made = await stat(join(root, 'objects', at.bucket, at.version.slice(0, 2), at.version))
    expect([made.ino, made.size]).toEqual([ino, 3 * MiB + 1000])
    expect(await filesLeft()).toEqual([at.version])
  })

  it('goes on where a crash has left the first part longer than it is, with other parts as well', async () => {
    const bytes = [randomBytes(1000), randomBytes(2000), randomBytes(3000)] as const
    const parts = [await write(1, bytes[0]), await write(2, bytes[1]), await write(3, bytes[2])] as const
    const file = await open(fileOf(parts[0]), 'a')
    await file.write(randomBytes(1500))
    await file.close()
    await backend.assemble(at, [parts[2], parts[0], parts[1]])
    const whole = Buffer.concat([bytes[2], bytes[0], bytes[1]])
    expect(whole.equals(await backend.readWhole(at, 6000))).toBe(true)
  })

  it('makes nothing of a part that has lost bytes', async () => {
    const parts = [await write(1, randomBytes(1000)), await write(2, randomBytes(1000))] as const
    await truncate(fileOf(parts[1]), 999)
    for (const list of [[...parts], [parts[1], parts[0]]]) {
      await expect(backend.assemble(at, list)).rejects.toMatchObject({ code: 'MissingBytes' })
      expect(await backend.exists(at)).toBe(false)
    }
    expect(await unfinished()).toHaveLength(2)
  })

  it('has no part that another backend has noted', async () => {
    const part = await write(1, randomBytes(10))
    const elsewhere = { ...part, number: 2, notes: JSON.stringify({ uploadId: '../x'.repeat(100) }) }
    await backend.removePart(at, elsewhere)
    for (const list of [[elsewhere], [part, elsewhere]]) {
      await expect(backend.assemble(at, list)).rejects.toMatchObject({ code: 'MissingBytes' })
    }
    expect(await unfinished()).toHaveLength(1)
  })

  it('has a part written now, and not when its first bytes came, when the cleanup looks', async () => {
    const part = await write(1, randomBytes(10))
    const old = new Date(Date.now() - 86_400_000)
    const file = await open(fileOf(part), 'r+')
    await file.utimes(old, old)
    await file.close()
    const before = Date.now()
    await backend.assemble(at, [part])
    const [stored] = await all(backend.list())
    expect(stored?.modifiedAt.getTime()).toBeGreaterThanOrEqual(before - 1000)
  })

  describe('when the disk fails', () => {
    const mishaps: FileMishap[] = [
      { code: 'ENOSPC', kind: 'undone' },
      { code: 'EIO', kind: 'undone' },
      { code: 'EIO', kind: 'done' },
    ]
    const codeOf = ({ code }: FileMishap) => (code === 'ENOSPC' ? 'StorageFull' : 'BackendUnavailable')

    /** Has the mishap at the first call of `work`, at the second, and so on. @returns how many there were */
    const failAtEachCall = async (
      mishap: FileMishap,
      work: () => Promise<unknown>,
      afterFailure: () => Promise<void>,
    ) => {
      const files = injectFileFaults(join(root, 'objects'))
      try {
        for (let call = 1; ; call++) {
          files.arm(call, mishap)
          const error = await work().then(
            () => null,
            (reason: unknown) => reason,
          )
          const { hasStruck } = files
          files.arm(0)
          if (!hasStruck) {
            expect(error).toBeNull()
            return call - 1
          }
          // What only frees something may fail unheard.
          if (error !== null) {
            expect(error).toMatchObject({ code: codeOf(mishap) })
            await afterFailure()
          }
        }
      } finally {
        files.restore()
      }
    }

    it.each(mishaps)(
      'at any call of writePart, nothing of the part is left ($code, $kind)',
      async (mishap) => {
        const bytes = randomBytes(600_000)
        const kept: Part[] = []
        const calls = await failAtEachCall(
          mishap,
          async () => {
            kept.push(await backend.writePart(at, 1, stream(bytes, 60_013), { size: bytes.length }))
          },
          async () => expect(await unfinished()).toHaveLength(kept.length),
        )
        expect(calls).toBeGreaterThan(5)
        expect(await unfinished()).toHaveLength(kept.length)
      },
    )

    it.each(mishaps)('at any call of assemble, it can be done again ($code, $kind)', async (mishap) => {
      const bytes = [randomBytes(600_000), randomBytes(600_000), randomBytes(10)] as const
      const whole = Buffer.concat(bytes)
      let parts: Part[] = []
      const calls = await failAtEachCall(
        mishap,
        async () => {
          parts = []
          await backend.discard(at)
          for (const [index, part] of bytes.entries()) parts.push(await write(index + 1, part))
          await backend.assemble(at, parts)
        },
        async () => {
          if (parts.length < bytes.length) return
          await backend.assemble(at, parts)
          expect(whole.equals(await backend.readWhole(at, whole.length))).toBe(true)
        },
      )
      expect(calls).toBeGreaterThan(20)
      expect(whole.equals(await backend.readWhole(at, whole.length))).toBe(true)
    })
  })
})

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}
