import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { BytesEntry } from '../../../src/jobs/backup/entries.ts'
import { sortedByVersion } from '../../../src/jobs/backup/sorted-entries.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'strongroom-sorted-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** Each version twice, in an order that is none. */
async function* entries(count: number): AsyncGenerator<BytesEntry> {
  for (let i = 0; i < 2 * count; i++) {
    const number = ((i * 7919) % count).toString(16).padStart(12, '0')
    const version = `00000000-0000-4000-8000-${number}`
    yield { version, bucket: version, size: 1, sha256: 'a'.repeat(64) }
  }
}

it.each([
  [0, 10],
  [9, 100],
  [100, 10],
  [101, 7],
  [1000, 1000],
])('%d versions are in order and each there once, by runs of %d, and no file is left', async (count, run) => {
  const found: string[] = []
  for await (const { version } of sortedByVersion(entries(count), folder, run)) found.push(version)
  expect(found).toEqual([...new Set(found)].sort())
  expect(found.length).toBe(count)
  expect(await readdir(folder)).toEqual([])
})

it('lets go of its files when somebody has enough', async () => {
  for await (const { version } of sortedByVersion(entries(100), folder, 10)) {
    expect(version).toMatch(/0{12}$/)
    break
  }
  expect(await readdir(folder)).toEqual([])
})
