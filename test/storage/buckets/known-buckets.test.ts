import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { Database } from '../../../src/database/connection/client.ts'
import type { KnownSettings } from '../../../src/database/queries/buckets.ts'
import { KnownBuckets, MOST_BYTES } from '../../../src/storage/buckets/known-buckets.ts'

/** Never asked. */
const database = {} as Database

function settings(types: string[] | null): KnownSettings {
  return { uid: randomUUID(), fileSizeLimit: null, allowedMimeTypes: types, mark: `{${types}}` }
}

const typesOf = (count: number, length: number) =>
  Array.from({ length: count }, (_, n) => `${n}/`.padEnd(length, 'x'))

function remembered(count: number, types: string[] | null): number {
  const known = new KnownBuckets(database)
  const ids = Array.from({ length: count }, (_, n) => `bucket-${n}`)
  for (const id of ids) known.heard(id, settings(types))
  return ids.filter((id) => known.get(id)).length
}

describe('the settings that are remembered', () => {
  it('are those of thousands of buckets', () => {
    expect(remembered(5000, null)).toBe(5000)
    expect(remembered(2000, ['image/*', 'application/pdf'])).toBe(2000)
  })

  it('take so much memory at most, however many types a bucket has', () => {
    const types = typesOf(1000, 100)
    const bytes = 2 * types.join('').length // and those of what they are compared by
    const left = remembered(1000, types)
    expect(left).toBeGreaterThan(0)
    expect(left * bytes).toBeLessThanOrEqual(MOST_BYTES)
  })

  it('are not those of a bucket that has more than all may have, and nothing else is forgotten for it', () => {
    const known = new KnownBuckets(database)
    known.heard('usual', settings(null))
    known.heard('huge', settings(null))
    known.heard('huge', settings(typesOf(10_000, 1000)))
    expect(known.get('huge')).toBeUndefined()
    expect(known.get('usual')).toBeDefined()
  })

  it('are forgotten with their bucket', () => {
    const known = new KnownBuckets(database)
    known.heard('gone', settings(null))
    known.heard('gone', null)
    expect(known.get('gone')).toBeUndefined()
  })
})
