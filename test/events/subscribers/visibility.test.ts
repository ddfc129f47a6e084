import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { orderEvents } from '../../../src/database/queries/events.ts'
import { type EventReader, openEvents } from '../../support/event-stream.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/*
 * Who hears what happens to an object of `uploader`'s, by its bucket's policy alone (design §4). What is deleted
 * cannot be asked about any more: its uploader hears of it in any case.
 */
const MATRIX = {
  private: `
              anonKey  stranger  uploader  owner  service
    created   -        -         -         hears  hears
    updated   -        -         -         hears  hears
    moved     -        -         -         hears  hears
    deleted   -        -         hears     hears  hears`,
  authenticated: `
              anonKey  stranger  uploader  owner  service
    created   -        hears     hears     hears  hears
    updated   -        hears     hears     hears  hears
    moved     -        hears     hears     hears  hears
    deleted   -        hears     hears     hears  hears`,
  public: `
              anonKey  stranger  uploader  owner  service
    created   hears    hears     hears     hears  hears
    updated   hears    hears     hears     hears  hears
    moved     hears    hears     hears     hears  hears
    deleted   hears    hears     hears     hears  hears`,
}
type Policy = keyof typeof MATRIX
const POLICIES = Object.keys(MATRIX) as Policy[]

const WHO = ['anonKey', 'stranger', 'uploader', 'owner', 'service'] as const
type Who = (typeof WHO)[number]

let server: TestServer
let tokens: Record<Who, string>
const owner = randomUUID()
const uploader = randomUUID()
/** The present test's, one for each policy, by it. */
let buckets: Record<Policy | 'end', string>
const readers: EventReader[] = []

beforeAll(async () => {
  server = await startTestServer({ STORAGE_USER_BUCKETS: 'true', STORAGE_EVENTS_KEEPALIVE: '20ms' })
  tokens = {
    anonKey: server.keys.anonKey,
    stranger: await server.token(randomUUID()),
    uploader: await server.token(uploader),
    owner: await server.token(owner),
    service: server.keys.serviceKey,
  }
})
afterAll(() => server.close())
beforeEach(async () => {
  const id = randomUUID()
  buckets = {
    private: `private-${id}`,
    authenticated: `users-${id}`,
    public: `public-${id}`,
    end: `end-${id}`,
  }
  for (const policy of POLICIES) await createBucket(policy, buckets[policy])
  await createBucket('public', buckets.end)
})
afterEach(() => {
  for (const reader of readers.splice(0)) reader.close()
})

async function createBucket(policy: Policy, name: string) {
  const made = await server.request('POST', '/storage/v1/bucket', {
    token: tokens.owner,
    body: { name, policy },
  })
  expect(made.status).toBe(201)
}

async function open(who: Who, options: { query?: string; lastEventId?: number } = {}): Promise<EventReader> {
  const reader = await openEvents(server, { token: tokens[who], ...options })
  readers.push(reader)
  return reader
}

const openAll = async () =>
  Object.fromEntries(await Promise.all(WHO.map(async (who) => [who, await open(who)] as const))) as Record<
    Who,
    EventReader
  >

/** What each has heard, once all have heard of something that everyone may hear and that came later. */
async function heardBy<Name extends string>(all: Record<Name, EventReader>): Promise<Record<Name, string[]>> {
  await server.request('POST', `/object/${buckets.end}/end`, { body: 'end' })
  const lists = Object.entries<EventReader>(all).map(async ([who, reader]) => {
    await expect.poll(reader.heard, { timeout: 90_000 }).toContain('object.created end')
    return [who, reader.heard().slice(0, reader.heard().indexOf('object.created end'))]
  })
  return Object.fromEntries(await Promise.all(lists))
}

/** By plain SQL, so that the policies on writing are not in the way. */
const insert = (policy: Policy, name: string, ownerId = uploader) =>
  server.admin`insert into storage.objects (bucket_id, name, owner_id) values (${buckets[policy]}, ${name}, ${ownerId})`

describe.each(POLICIES)('in a bucket of policy %s', (policy) => {
  const [head = [], ...rows] = MATRIX[policy]
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))

  it('each hears what he may read', async () => {
    const all = await openAll()
    const bucket = buckets[policy]
    await insert(policy, 'a')
    // The next change comes only when this one has been heard: what is gone by then follows another rule.
    const heardSoFar = async (count: number) => {
      await orderEvents(server.database) // plain SQL tells nobody; this is sooner than the next look
      await all.service.hears(count)
      await judged(all)
    }
    await heardSoFar(1)
    await server.admin`update storage.objects set version = 'two' where bucket_id = ${bucket}`
    await heardSoFar(2)
    await server.admin`update storage.objects set name = 'b' where bucket_id = ${bucket}`
    await heardSoFar(3)
    await server.admin`delete from storage.objects where bucket_id = ${bucket}`
    const words: Record<string, string> = {
      created: 'object.created a',
      updated: 'object.updated a',
      moved: 'object.updated b',
      deleted: 'object.deleted b',
    }
    const expected = WHO.map((who) => [
      who,
      rows.filter((row) => row[head.indexOf(who) + 1] === 'hears').map(([what = '']) => words[what]),
    ])
    expect(await heardBy(all)).toEqual(Object.fromEntries(expected))
  })
})

/** Waits until all have been judged for what the service has heard: then their streams tell a position past it. */
async function judged(all: Record<Who, EventReader>) {
  const last = all.service.events().at(-1)?.id ?? 0
  for (const who of WHO) {
    await until(() => all[who].blocks.some(({ id }) => Number(id) >= last), `${who} is past event ${last}`)
  }
}

describe('a move between buckets', () => {
  it('is a deletion for those who may not see where the object has gone', async () => {
    await insert('public', 'a')
    const all = await openAll()
    await server.admin`update storage.objects set bucket_id = ${buckets.private}, name = 'hidden' where bucket_id = ${buckets.public}`
    expect(await heardBy(all)).toEqual({
      anonKey: ['object.deleted a'],
      stranger: ['object.deleted a'],
      uploader: ['object.deleted a'],
      owner: ['object.updated hidden'],
      service: ['object.updated hidden'],
    })
    expect(JSON.stringify([all.anonKey.events(), all.uploader.events()])).not.toContain('hidden')
    expect(all.owner.events()[0]).toMatchObject({ old_bucket: buckets.public, old_path: 'a' })
  })

  it('does not tell where the object was to those who could not see it there', async () => {
    await insert('private', 'hidden', owner)
    const all = await openAll()
    await server.admin`update storage.objects set bucket_id = ${buckets.public}, name = 'a' where bucket_id = ${buckets.private}`
    const moved = ['object.updated a']
    expect(await heardBy(all)).toEqual({
      anonKey: moved,
      stranger: moved,
      uploader: moved,
      owner: moved,
      service: moved,
    })
    expect(JSON.stringify([all.anonKey.events(), all.uploader.events()])).not.toContain('hidden')
    expect(all.service.events()[0]).toMatchObject({ old_bucket: buckets.private, old_path: 'hidden' })
  })

  it('is heard by those who listen to the place that it leaves', async () => {
    await insert('public', 'a')
    const left = await open('service', { query: `?bucket=${buckets.public}` })
    const gone = await open('anonKey', { query: `?bucket=${buckets.public}&type=storage.object.deleted` })
    await server.admin`update storage.objects set bucket_id = ${buckets.private} where bucket_id = ${buckets.public}`
    expect(await left.hears(1)).toEqual(['object.updated a'])
    expect(await gone.hears(1)).toEqual(['object.deleted a'])
  })
})

describe('what happened before', () => {
  /** The position before what a test does. */
  const now = async () => {
    const reader = await open('service')
    await expect.poll(() => reader.blocks.length).toBeGreaterThan(0)
    return Number(reader.blocks[0]?.id)
  }

  it('is not told once the bucket has been closed', async () => {
    const before = await now()
    await insert('public', 'a')
    await insert('public', 'b')
    await server.admin`delete from storage.objects where bucket_id = ${buckets.public} and name = 'b'`
    await server.admin`update storage.buckets set policy = 'private' where id = ${buckets.public}`
    expect(await heardBy({ anon: await open('anonKey', { lastEventId: before }) })).toEqual({ anon: [] })
  })

  it('is not told of a closed bucket that has been opened since, or made again as an open one', async () => {
    const before = await now()
    await insert('private', 'a')
    await server.admin`delete from storage.objects where bucket_id = ${buckets.private}`
    await server.admin`update storage.buckets set policy = 'public' where id = ${buckets.private}`
    await insert('authenticated', 'b')
    await server.admin`delete from storage.objects where bucket_id = ${buckets.authenticated}`
    await server.admin`delete from storage.buckets where id = ${buckets.authenticated}`
    await createBucket('public', buckets.authenticated)
    expect(await heardBy({ anon: await open('anonKey', { lastEventId: before }) })).toEqual({
      // The bucket as it is now.
      anon: [`bucket.created ${buckets.authenticated}`],
    })
  })

  it('does not tell the former names of an object that has come to an open place', async () => {
    const before = await now()
    await insert('private', 'secret-name')
    await server.admin`update storage.objects set bucket_id = ${buckets.public}, name = 'a' where bucket_id = ${buckets.private}`
    const anon = await open('anonKey', { lastEventId: before })
    expect(await heardBy({ anon })).toEqual({ anon: ['object.updated a'] })
    expect(JSON.stringify(anon.blocks)).not.toContain('secret-name')
  })
})

describe('under policies that users write', () => {
  it('each hears of his own folder', async () => {
    const rule = `create policy "own folder" on storage.objects for select to authenticated
      using (bucket_id = '${buckets.private}' and (storage.foldername(name))[1] = (select auth.uid()::text))`
    await withPolicies(server.admin, rule, async () => {
      const all = await openAll()
      await insert('private', `${uploader}/a.txt`, owner)
      await insert('private', `${owner}/b.txt`, owner)
      const [own, other] = [`object.created ${uploader}/a.txt`, `object.created ${owner}/b.txt`]
      const expected = {
        anonKey: [],
        stranger: [],
        uploader: [own],
        owner: [own, other],
        service: [own, other],
      }
      expect(await heardBy(all)).toEqual(expected)
    })
  })

  it('a policy that hides hides', async () => {
    const rule = `create policy "no drafts" on storage.objects as restrictive for select to anon, authenticated
      using (name not like 'draft%')`
    await withPolicies(server.admin, rule, async () => {
      const all = await openAll()
      await insert('public', 'draft.txt')
      await insert('public', 'final.txt')
      const final = ['object.created final.txt']
      const drafts = ['object.created draft.txt', ...final]
      expect(await heardBy(all)).toEqual({
        anonKey: final,
        stranger: final,
        uploader: final,
        owner: final,
        service: drafts,
      })
    })
  })

  it('a policy that fails on one object keeps the others from nobody', async () => {
    const rule = `create policy "numbers" on storage.objects as restrictive for select to anon
      using (name::int > 0)`
    await withPolicies(server.admin, rule, async () => {
      const before = await open('service')
      await expect.poll(() => before.blocks.length).toBeGreaterThan(0)
      for (const name of ['1', 'two', '3', 'four', '-5', '6']) await insert('public', name)
      const anon = await open('anonKey', { lastEventId: Number(before.blocks[0]?.id) })
      expect(await anon.hears(3)).toEqual(['object.created 1', 'object.created 3', 'object.created 6'])
    })
  })

  it('an event can be told from a download', async () => {
    const rule = `create policy "events only" on storage.objects for select to anon
      using (bucket_id = '${buckets.private}' and storage.allow_only_operation('storage.event.read'))`
    await withPolicies(server.admin, rule, async () => {
      const anon = await open('anonKey')
      await insert('private', 'a')
      expect(await anon.hears(1)).toEqual(['object.created a'])
      const download = await server.request('GET', `/object/${buckets.private}/a`, { token: tokens.anonKey })
      expect(download.status).toBe(404)
    })
  })
})
