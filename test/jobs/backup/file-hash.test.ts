import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hashFile } from '../../../src/jobs/backup/file-hash.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe('the hash of a file', () => {
  let folder = ''
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'file-hash-'))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))
  const { signal } = new AbortController()
  const written = async (bytes: Uint8Array) => {
    const path = join(folder, 'file')
    await writeFile(path, bytes)
    return path
  }

  it.each([0, 1, 512 * 1024 - 1, 512 * 1024, 1_300_001])('is of all its %i bytes', async (size) => {
    const bytes = randomBytes(size)
    const path = await written(bytes)
    expect(await hashFile(path, { size, parts: null, signal })).toBe(sha256(bytes))
  })

  it.each([0, 9, 600_000])(
    'is of no file that has not the size, of %i bytes, that it should have',
    async (size) => {
      const path = await written(randomBytes(size))
      for (const other of [size + 1, size + 600_000, ...(size > 0 ? [size - 1] : [])]) {
        const hashing = hashFile(path, { size: other, parts: null, signal })
        await expect(hashing).rejects.toMatchObject({ code: 'MissingBytes' })
      }
    },
  )

  it('compares the parts of which the file was made', async () => {
    const bytes = randomBytes(1_000_000)
    const path = await written(bytes)
    const parts = [bytes.subarray(0, 700_000), bytes.subarray(700_000)].map((part) => ({
      size: part.length,
      sha256: sha256(part),
    }))
    const options = { size: bytes.length, signal }
    expect(await hashFile(path, { ...options, parts })).toBe(sha256(bytes))
    const others = parts.toReversed()
    await expect(hashFile(path, { ...options, parts: others })).rejects.toMatchObject({
      code: 'CorruptedBytes',
    })
  })

  it('is none of a file that is not there, or when nobody wants it any more', async () => {
    const missing = hashFile(join(folder, 'none'), { size: 1, parts: null, signal })
    await expect(missing).rejects.toMatchObject({ code: 'MissingBytes' })
    const path = await written(randomBytes(9))
    const ended = hashFile(path, { size: 9, parts: null, signal: AbortSignal.abort(new Error('enough')) })
    await expect(ended).rejects.toThrow('enough')
  })
})
