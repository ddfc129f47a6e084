import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ListedLock, listLocks } from '../../../src/database/queries/lifted-locks.ts'
import { hasLocked } from '../../../src/database/queries/object-locks.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let bucket: string
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `vault-${randomUUID()}`
  await server.createBucket(bucket, { object_lock: true })
  await server.admin`insert into storage.objects (bucket_id, name, version) values (${bucket}, 'a', ${randomUUID()})`
})

const isLocked = () => hasLocked(server.database, bucket)

async function lock(values: { legal_hold?: boolean; retain_until?: Date; lifted_at?: Date }): Promise<void> {
  const [row] = await server.admin`
    select version from storage.objects where bucket_id = ${bucket}
    union all select version from storage.object_versions where bucket_id = ${bucket} and kind = 'version' limit 1`
  const { legal_hold = false, retain_until, lifted_at } = values
  await server.admin`
    insert into storage.object_locks (version, legal_hold, retain_until, lifted_at)
    values (${row?.version}, ${legal_hold}, ${retain_until?.toISOString() ?? null}, ${lifted_at?.toISOString() ?? null})`
}

const inDays = (days: number) => new Date(Date.now() + days * 86_400_000)

const STATES: [string, boolean, () => Promise<unknown>][] = [
  ['a hold', true, () => lock({ legal_hold: true })],
  ['a moment to come', true, () => lock({ retain_until: inDays(1) })],
  ['a moment that has passed', false, () => lock({ retain_until: inDays(-1) })],
  ['nothing', false, async () => {}],
  ['its days', true, () => days()],
  ['its days, which are over', false, () => Promise.all([days(), age(10)])],
  ['its days, and was lifted', false, () => Promise.all([days(), lock({ lifted_at: inDays(0) })])],
]

const days = () => server.admin`update storage.buckets set retention_days = 9 where id = ${bucket}`

const age = (days: number) =>
  server.admin.begin(async (tx) => {
    await tx`set local session_replication_role = replica`
    const then = inDays(-days).toISOString()
    await tx`update storage.objects set current_since = ${then} where bucket_id = ${bucket}`
    await tx`update storage.object_versions set valid_from = ${then} where bucket_id = ${bucket}`
  })

describe('whether anything in a bucket is locked', () => {
  describe.each(['current', 'former'])('when a %s version is kept by', (kind) => {
    it.each(STATES)('%s: %s', async (_, expected, prepare) => {
      if (kind === 'former') await server.admin`delete from storage.objects where bucket_id = ${bucket}`
      await prepare()
      expect(await isLocked()).toBe(expected)
    })
  })

  it('is found without asking each version', async () => {
    await server.admin`
      insert into storage.objects (bucket_id, name, version) select ${bucket}, 'n/' || i, gen_random_uuid() from generate_series(1, 9) i`
    await Promise.all([days(), age(10)])
    const asked = await server.admin.begin(async (tx) => {
      await tx`set local track_functions = 'all'`
      await tx`select storage.any_locked(${bucket}, false, '', -1, 1000)`
      const counts = await tx`
        select pg_stat_get_xact_function_calls(f::regprocedure)::int as calls
        from unnest(array['storage.any_locked(text, boolean, text, bigint, integer)', 'storage.lock_of(text, text, timestamptz)']) f`
      return counts.map(({ calls }) => calls)
    })
    expect(asked).toEqual([1, null])
  })

  // More than one statement looks at.
  it.each(['current', 'former'])('is found behind a thousand %s ones that are not', async (kind) => {
    await server.admin`
      insert into storage.objects (bucket_id, name, version)
      select ${bucket}, 'n/' || i, gen_random_uuid() from generate_series(1, 1001) i`
    const [last] = await server.admin`
      select version from storage.objects where bucket_id = ${bucket} order by name collate "C" desc limit 1`
    if (kind === 'former') await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    await Promise.all([days(), age(10)])
    expect(await isLocked()).toBe(false)
    await server.admin`insert into storage.object_locks (version, legal_hold) values (${last?.version}, true)`
    expect(await isLocked()).toBe(true)
  })

  it.each([false, true])('is asked of so many at once and no more (former: %s)', async (ofFormer) => {
    await server.admin`
      insert into storage.objects (bucket_id, name, version)
      select ${bucket}, 'n/' || i, gen_random_uuid() from generate_series(1, 9) i`
    if (ofFormer) await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    const ask = (name: string, sequence: string) => server.admin`
      select * from storage.any_locked(${bucket}, ${ofFormer}, ${name}, ${sequence}, 4)`
    const names: unknown[] = []
    for (let place: Record<string, string> = { end_name: '', end_sequence: '-1' }; ; ) {
      const [row] = await ask(place.end_name ?? '', place.end_sequence ?? '-1')
      names.push(row?.end_name)
      if (row?.end_name == null) break
      place = row
    }
    expect(names).toEqual(['n/3', 'n/7', null])
  })
})

describe('the list of locks', () => {
  it('comes in pages, by name', async () => {
    await server.admin`
      insert into storage.objects (bucket_id, name, version) select ${bucket}, 'n/' || i, gen_random_uuid() from generate_series(1, 4) i`
    await server.admin`
      insert into storage.object_locks (version, legal_hold)
      select version::uuid, true from storage.objects where bucket_id = ${bucket}`
    const pages: ListedLock[][] = []
    for await (const page of listLocks(server.admin, bucket, 2)) pages.push(page)
    expect(pages.map((page) => page.map(({ name }) => name))).toEqual([['a', 'n/1'], ['n/2', 'n/3'], ['n/4']])
  })
})
