import { beforeEach, describe, expect, it } from 'vitest'
import { type StoredObject, storedObject } from '../../../src/storage/object/stored-object.ts'
import { RowCache } from '../../../src/storage/reading/row-cache.ts'

let cache: RowCache
beforeEach(() => {
  cache = new RowCache(1_000_000)
  cache.confirm(performance.now())
})

function found(bucket: string, name: string, isPublic = true) {
  const object: StoredObject = storedObject({
    id: 'b3f0c8f0-0000-4000-8000-000000000001',
    bucketId: bucket,
    name,
    version: null,
    bytesBucket: 'b3f0c8f0-0000-4000-8000-000000000002',
    ownerId: null,
    metadata: null,
    userMetadata: null,
    checksum: null,
    tags: [],
    attributes: {},
    quarantineReason: null,
    createdAt: new Date(0),
    updatedAt: new Date(0),
  })
  return { object, isPublic }
}

/** A row that is being read until `arrive` is called. */
function reading(bucket: string, name: string) {
  let arrive = () => {}
  const row = new Promise<ReturnType<typeof found>>((resolve) => {
    arrive = () => resolve(found(bucket, name))
  })
  const done = cache.remember(bucket, name, () => row)
  return { arrive, done }
}

describe('a row', () => {
  it('is kept once it was read, if its bucket is public', async () => {
    await cache.remember('open', 'a', async () => found('open', 'a'))
    expect(cache.get('open', 'a')?.name).toBe('a')
    await cache.remember('closed', 'a', async () => found('closed', 'a', false))
    expect(cache.get('closed', 'a')).toBeUndefined()
  })

  const CHANGES: [string, () => void, boolean][] = [
    ['its own change', () => cache.drop('open', 'a'), false],
    ['a change of its bucket', () => cache.dropBucket('open'), false],
    ['a change of everything', () => cache.clear(), false],
    ["another's change", () => cache.drop('open', 'ab'), true],
    ["another bucket's change", () => cache.dropBucket('ope'), true],
  ]
  it.each(CHANGES)('by %s: dropped, and not kept if it was being read then', async (_name, change, stays) => {
    await cache.remember('open', 'a', async () => found('open', 'a'))
    const early = reading('open', 'a')
    const alike = reading('open', 'a')
    change()
    expect(cache.get('open', 'a') !== undefined).toBe(stays)
    early.arrive()
    await early.done
    expect(cache.get('open', 'a') !== undefined).toBe(stays)
    await cache.remember('open', 'a', async () => found('open', 'a'))
    expect(cache.get('open', 'a')).toBeDefined()
    change()
    alike.arrive()
    await alike.done
    expect(cache.get('open', 'a') !== undefined).toBe(stays)
  })

  it('is not told from memory unless what others changed was looked for within the last second', async () => {
    await cache.remember('open', 'a', async () => found('open', 'a'))
    cache.confirm(performance.now() - 1000)
    expect(cache.get('open', 'a')).toBeUndefined()
    cache.confirm(performance.now())
    expect(cache.get('open', 'a')).toBeDefined()
  })
})

it('names the buckets of which there are rows, or may be in a moment', async () => {
  await cache.remember('one', 'a', async () => found('one', 'a'))
  const { arrive, done } = reading('two', 'b/c')
  expect(cache.buckets.sort()).toEqual(['one', 'two'])
  arrive()
  await done
  cache.dropBucket('one')
  expect(cache.buckets).toEqual(['two'])
})

it('tells who waits that somebody asks', async () => {
  const fresh = new RowCache(1_000_000)
  const order: string[] = []
  const waiting = fresh.asked(60_000, new AbortController().signal).then(() => order.push('told'))
  await Promise.resolve()
  order.push('asks')
  fresh.get('open', 'a')
  await waiting
  expect(order).toEqual(['asks', 'told'])
  const stopping = new AbortController()
  stopping.abort(new Error('over'))
  await expect(fresh.asked(60_000, stopping.signal)).rejects.toThrow('over')
})

it('takes no more memory than it may', async () => {
  const small = new RowCache(20_000)
  small.confirm(performance.now())
  for (let index = 0; index < 100; index++) {
    await small.remember('open', `${index}`, async () => found('open', `${index}`))
  }
  const kept = Array.from({ length: 100 }, (_, index) => small.get('open', `${index}`)).filter(Boolean)
  expect(kept.length).toBeGreaterThan(5)
  expect(kept.length).toBeLessThan(20)
  expect(small.get('open', '99')).toBeDefined()
})
