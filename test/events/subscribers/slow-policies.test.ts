import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { type EventReader, openEvents } from '../../support/event-stream.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
const readers: EventReader[] = []
const bucket = `b-${randomUUID()}`

beforeAll(async () => {
  server = await startTestServer({ STORAGE_EVENTS_KEEPALIVE: '20ms' })
  await server.createBucket(bucket, { public: true })
  await server.admin.unsafe(`
    create function public.wait_for_42() returns boolean language plpgsql as $$
    begin
      perform pg_advisory_xact_lock_shared(42);
      return true;
    end $$`)
})
afterAll(() => server?.close())
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close()
})

async function open(token: string, lastEventId?: number) {
  const reader = await openEvents(server, {
    token,
    query: `?bucket=${bucket}`,
    ...(lastEventId !== undefined && { lastEventId }),
  })
  readers.push(reader)
  return reader
}
const upload = (name: string) => server.request('POST', `/object/${bucket}/${name}`, { body: name })

it('a policy that is slow for one keeps nobody else waiting, and he gets all of it later, once', async () => {
  const rule = `create policy "slow" on storage.objects as restrictive for select to authenticated
    using (public.wait_for_42())`
  await withPolicies(server.admin, rule, async () => {
    const user = await open(await server.token('u1'))
    const anon = await open(server.keys.anonKey)
    const holder = await server.admin.reserve()
    await holder`select pg_advisory_lock(42)`
    try {
      await upload('1')
      expect(await anon.hears(1)).toEqual(['object.created 1'])
      await upload('2')
      await upload('3')
      expect(await anon.hears(3)).toHaveLength(3)
      // Nobody promises him a position that he has not had: with it he would lose these.
      await until(() => anon.blocks.some(({ id }) => id === String(anon.events()[2]?.id)), 'anon is there')
      const promised = Math.max(...user.blocks.map(({ id = 0 }) => Number(id)))
      expect(promised).toBeLessThan(anon.events()[0]?.id ?? 0)
      expect(user.heard()).toEqual([])
    } finally {
      await holder`select pg_advisory_unlock(42)`
      holder.release()
    }
    const all = ['object.created 1', 'object.created 2', 'object.created 3']
    expect(await user.hears(3)).toEqual(all)
    await upload('4')
    expect(await user.hears(4)).toEqual([...all, 'object.created 4'])
    expect(await anon.hears(4)).toEqual(user.heard())
  })
})
