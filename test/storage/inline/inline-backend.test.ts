import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MemoryBackend } from '../../../src/backend/memory-backend.ts'
import { INLINE_BUCKET, type Location } from '../../../src/model/location.ts'
import { InlineBackend } from '../../../src/storage/inline/inline-backend.ts'
import { describeBackend, newLocation } from '../../backend/contract.ts'
import { createTestDatabase } from '../../support/database.ts'

let made: Awaited<ReturnType<typeof createTestDatabase>>
beforeAll(async () => {
  made = await createTestDatabase()
})
afterAll(() => made.drop())

const MiB = 1024 * 1024

async function open(): Promise<InlineBackend> {
  await made.admin`truncate storage.inline_bytes`
  return new InlineBackend(new MemoryBackend(64 * MiB), made.database)
}

describeBackend('InlineBackend, of bytes in the database,', open, {
  inMemory: true,
  manyEntries: 1100,
  bucket: INLINE_BUCKET,
})
describeBackend('InlineBackend, of bytes outside,', open, { inMemory: true })

describe('InlineBackend', () => {
  let backend: InlineBackend
  let inside: Location
  let outside: Location
  beforeEach(async () => {
    backend = await open()
    inside = newLocation(INLINE_BUCKET)
    outside = newLocation()
  })

  it.each(['into the database', 'out of the database'])('copies bytes %s', async (way) => {
    const [from, to] = way === 'into the database' ? [outside, inside] : [inside, outside]
    const bytes = randomBytes(5000)
    await backend.write(from, bytes, { maxBytes: 5000 })
    await backend.copy(from, to)
    await backend.remove(from)
    expect(bytes.equals(await backend.readWhole(to, 5000))).toBe(true)
    await expect(backend.copy(from, newLocation(to.bucket))).rejects.toMatchObject({ code: 'MissingBytes' })
  })

  it('lists both', async () => {
    for (const at of [inside, outside]) await backend.write(at, randomBytes(10), { maxBytes: 10 })
    const listed: Location[] = []
    for await (const { location } of backend.list()) listed.push(location)
    expect(listed).toEqual([outside, inside])
  })
})
