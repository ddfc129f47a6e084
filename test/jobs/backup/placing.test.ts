import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import type { Backend } from '../../../src/backend/backend.ts'
import { readBytesEntries } from '../../../src/jobs/backup/entries.ts'
import { placeBytes } from '../../../src/jobs/backup/placing.ts'
import { StoredBytes } from '../../../src/jobs/backup/stored-bytes.ts'
import { makeBackup } from './made-backup.ts'
import { MemoryTarget } from './memory-target.ts'

it('bytes that are lines are all found, in whatever order the place of the bytes answers', async () => {
  const target = new MemoryTarget()
  const objects = Array.from({ length: 40 }, (_, index) => ({
    bucket: 'notes',
    name: `note ${index}`,
    bytes: Buffer.from(`content ${index}`),
    isInline: true,
    version: `00000000-0000-4000-8000-0000000000${index + 10}`,
  }))
  const { manifest } = await makeBackup(target, objects)
  const found = new Map<string, string>()
  let asked = 0
  const backend = {
    // Of those that are asked at once, the first is answered last.
    size: async () => {
      await delay(20 - 2 * (asked++ % 8))
      return null
    },
    write: async ({ version }: { version: string }, body: Uint8Array) =>
      void found.set(version, String(body)),
  } as unknown as Backend
  const rows = objects.map(({ version, bucket, name, bytes }) => ({
    version,
    bucket,
    object: `${bucket}/${name}`,
    checksum: null,
    size: bytes.length,
    isInline: true,
  }))
  const stored = new StoredBytes(target, manifest.id)
  const placed = await placeBytes({
    versions: (async function* () {
      yield* rows
    })(),
    backend,
    entries: readBytesEntries(target, manifest.id),
    stored,
    hasInlineBytes: false,
    signal: new AbortController().signal,
  })
  await stored.close()
  expect([placed.versions, placed.failures.count]).toEqual([40, 0])
  expect(found).toEqual(new Map(objects.map(({ version, bytes }) => [version, String(bytes)])))
})
