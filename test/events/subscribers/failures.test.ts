import { randomUUID } from 'node:crypto'
import pino from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Claimant, StorageEvent } from '../../../src/database/queries/events.ts'
import { ServingSession } from '../../../src/database/queries/serving-session.ts'
import { Outbox } from '../../../src/events/outbox.ts'
import { Batch, type Gap, type Subscriber } from '../../../src/events/subscribers/batch.ts'
import { Subscriptions } from '../../../src/events/subscribers/subscriptions.ts'
import { withPolicies } from '../../support/policies.ts'
import { startTestServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

/** A failure at each step of the hand-out: it costs nobody else an event, and whom it costs one is told so. */

let server: TestServer
let bucket: string
let session: ServingSession
let outbox: Outbox
let subscriptions: Subscriptions

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server.close())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await server.createBucket(bucket, { policy: 'public' })
  const { database } = server
  const logger = pino({ enabled: false })
  session = new ServingSession(database)
  outbox = new Outbox({ database, session, logger })
  subscriptions = new Subscriptions({ database, outbox, logger })
  outbox.start()
})
afterEach(async () => {
  vi.restoreAllMocks()
  subscriptions.close()
  await outbox.close()
  await session.close()
})

const anon = (claims: Record<string, unknown> = {}): Claimant => ({
  role: 'anon',
  subject: null,
  claims: { role: 'anon', ...claims },
  token: '',
})

/** Hears the events of the bucket, unless it is told to fail. */
class Listener implements Subscriber {
  readonly heard: string[] = []
  readonly gaps: Gap[] = []
  /** Where it stands when it is asked for its claimant or what it wants: these are asked for several times. */
  asked = 0
  constructor(private readonly fails: Partial<Record<keyof Subscriber, (asked: number) => void>> = {}) {}

  identity = anon()
  get claimant(): Claimant {
    this.fails.claimant?.(++this.asked)
    return this.identity
  }
  wants(event: StorageEvent): boolean {
    this.fails.wants?.(++this.asked)
    return event.bucket === bucket
  }
  deliver(events: StorageEvent[]): void {
    this.fails.deliver?.(++this.asked)
    this.heard.push(...events.map(({ path }) => String(path)))
  }
  miss(gap: Gap): void {
    this.gaps.push(gap)
    this.fails.miss?.(++this.asked)
  }
}

const fail = () => {
  throw new Error('injected')
}
/** From its second time on. */
const failLater = (asked: number) => {
  if (asked > 1) fail()
}

/** Many events, which are handed out as one batch or two. */
async function store(...names: string[]): Promise<number[]> {
  await server.admin`insert into storage.objects (bucket_id, name) select ${bucket}, unnest(${names}::text[])`
  outbox.wake()
  const find = () => server.admin<{ position: number }[]>`
    select o.position::int from storage.event_order o join storage.events e on e.id = o.event_id
    where e.bucket_id = ${bucket} and e.name = any(${names}::text[]) order by 1`
  await until(async () => (await find()).length === names.length, 'they have positions')
  return (await find()).map(({ position }) => position)
}

/** Adds these beside two innocent ones, who hear all of it. Returns where the events are. */
async function handOut(...listeners: Listener[]): Promise<number[]> {
  const innocent = [new Listener(), new Listener()]
  const [first, last] = innocent
  for (const one of [first, ...listeners, last]) if (one) await subscriptions.add(one)
  const positions = await store('a', 'b', 'c')
  for (const one of innocent) {
    await until(() => one.heard.length >= 3, 'the innocent hear all')
    expect(one.heard).toEqual(['a', 'b', 'c'])
    expect(one.gaps).toEqual([])
  }
  // And what comes after.
  await store('d')
  for (const one of innocent) {
    await until(() => one.heard.length >= 4, 'the innocent hear what comes after')
    expect(one.heard).toEqual(['a', 'b', 'c', 'd'])
  }
  return positions
}

/** All of these positions are in its gaps. */
function expectTold(listener: Listener, positions: number[]): void {
  const isTold = (position: number) =>
    listener.gaps.some(({ after, oldest }) => after < position && position < oldest)
  expect(positions.filter((position) => !isTold(position))).toEqual([])
}

describe('a subscriber fails alone, and is told', () => {
  const cycle: Record<string, unknown> = {}
  cycle.itself = cycle
  const deep = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`)

  it.each<[what: string, listener: () => Listener]>([
    ['when it is asked for its claims', () => new Listener({ claimant: fail })],
    ['when it is asked for them once more', () => new Listener({ claimant: failLater })],
    ['when it is asked what it wants', () => new Listener({ wants: fail })],
    ['when it is asked that of the second event', () => new Listener({ wants: failLater })],
    [
      'when it is asked that of what it is to be given',
      () => new Listener({ wants: (n) => n > 3 && fail() }),
    ],
    ['when it is given events', () => new Listener({ deliver: fail })],
    ['even when it cannot be told', () => new Listener({ deliver: fail, miss: fail })],
    ['when its claims are no JSON', () => Object.assign(new Listener(), { identity: anon({ cycle }) })],
    ['when its claims are too deep', () => Object.assign(new Listener(), { identity: anon({ deep }) })],
    [
      'when the policies cannot be asked',
      () => {
        let times = 0
        // As who it hears is made to text first, and then what is asked.
        const toJSON = () => (times++ === 0 ? 'once' : fail())
        return Object.assign(new Listener(), { identity: anon({ odd: { toJSON } }) })
      },
    ],
  ])('%s', async (_what, listener) => {
    const one = listener()
    const positions = await handOut(one)
    await until(() => one.gaps.length > 0, 'it is told')
    expect(one.heard).not.toContain('b')
    expectTold(one, positions)
  })

  it('and those with the same claims hear all', async () => {
    const one = new Listener({ deliver: fail })
    const [same, also] = [new Listener(), new Listener()]
    one.identity = same.identity = also.identity = anon({ sub: 'shared' })
    await handOut(same, one, also)
    await until(() => same.heard.length >= 4 && also.heard.length >= 4, 'they hear all')
    expect([same.heard, same.gaps, also.heard, also.gaps]).toEqual([
      ['a', 'b', 'c', 'd'],
      [],
      ['a', 'b', 'c', 'd'],
      [],
    ])
  })

  it('but is told nothing of what a policy refuses by an error', async () => {
    const rule = `create policy "broken" on storage.objects as restrictive for select to authenticated
      using (name <> 'b' or name::uuid is not null)`
    await withPolicies(server.admin, rule, async () => {
      const one = new Listener()
      one.identity = { ...anon(), role: 'authenticated', claims: { role: 'authenticated', sub: 'x' } }
      await handOut(one)
      await until(() => one.heard.length >= 3, 'it hears the others')
      expect([one.heard, one.gaps]).toEqual([['a', 'c', 'd'], []])
    })
  })
})

describe('nobody misses anything', () => {
  it.each<[what: string, inject: () => unknown]>([
    [
      'the outbox cannot be read',
      () => vi.spyOn(outbox, 'read').mockRejectedValueOnce(new Error('injected')),
    ],
    ['reading it throws', () => vi.spyOn(outbox, 'read').mockImplementationOnce(fail)],
    ['another who waits for news fails', () => outbox.onNews(fail)],
  ])('while %s', async (_what, inject) => {
    inject()
    await handOut()
  })
})

describe('all who may be concerned are told', () => {
  const listeners = async () => {
    const all = [new Listener(), new Listener(), new Listener()]
    for (const [index, one] of all.entries()) {
      one.identity = anon({ sub: String(index % 2) })
      await subscriptions.add(one)
    }
    return all
  }

  /** All have heard these, and were told of a gap where the event called b was. */
  async function expectOneLost(all: Listener[], heard: string[]): Promise<void> {
    const positions = await store('a', 'b', 'c')
    await store('d')
    await until(() => all.every((one) => one.heard.includes('d') && one.gaps.length > 0), 'all go on, told')
    for (const one of all) {
      expect(one.heard).toEqual(heard)
      expectTold(one, positions.slice(1, 2))
    }
  }

  /** Spoils the event called b as it is read. */
  function spoil(how: (event: StorageEvent) => StorageEvent): void {
    const read = outbox.read.bind(outbox)
    vi.spyOn(outbox, 'read').mockImplementation(async (after, limit) => {
      const events = await read(after, limit)
      return events.map((event) => (event.path === 'b' ? how(event) : event))
    })
  }

  it('when an event cannot be looked at, and hear the others', async () => {
    const all = await listeners()
    spoil((event) => Object.defineProperty(event, 'oldPath', { get: fail }))
    await expectOneLost(all, ['a', 'c', 'd'])
  })

  it('when what may be heard of an event cannot be made, and hear the others', async () => {
    const all = await listeners()
    let times = 0
    spoil((event) => Object.defineProperty(event, 'oldPath', { get: () => (times++ === 0 ? null : fail()) }))
    await expectOneLost(all, ['a', 'c', 'd'])
  })

  it('when events were forgotten before they were handed out', async () => {
    const all = await listeners()
    const read = outbox.read.bind(outbox)
    vi.spyOn(outbox, 'read').mockImplementation(async (after, limit) => {
      const events = await read(after, limit)
      const last = events.findIndex(({ path }) => path === 'b')
      return events.slice(last + 1)
    })
    await expectOneLost(all, ['c', 'd'])
  })

  it.each(['groups', 'deliver'] as const)('when a whole batch fails, in %s', async (step) => {
    const all = await listeners()
    vi.spyOn(Batch.prototype, step).mockRejectedValue(new Error('injected'))
    const positions = await store('a', 'b', 'c')
    await until(
      () => all.every((one) => one.gaps.at(-1)?.oldest === (positions.at(-1) ?? 0) + 1),
      'all are told',
    )
    for (const one of all) expectTold(one, positions)
    vi.restoreAllMocks()
    await store('d')
    await until(() => all.every((one) => one.heard.join() === 'd'), 'all go on')
  })
})

it('who has fallen behind the others goes on too when another of his group fails', async () => {
  await server.admin.unsafe(`
    create function public.wait_for_43() returns boolean language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(43); return true; end $$`)
  const rule = `create policy "slow" on storage.objects as restrictive for select to authenticated
    using (public.wait_for_43())`
  await withPolicies(server.admin, rule, async () => {
    const failing = new Listener({ deliver: fail })
    const other = new Listener()
    const user = { ...anon(), role: 'authenticated', claims: { role: 'authenticated', sub: 'slow' } }
    failing.identity = other.identity = user
    const holder = await server.admin.reserve()
    await holder`select pg_advisory_lock(43)`
    let positions: number[]
    try {
      positions = await handOut(failing, other) // which the innocent do not wait for
      expect(other.heard).toEqual([])
    } finally {
      await holder`select pg_advisory_unlock(43)`
      holder.release()
    }
    await until(() => other.heard.length >= 4, 'the other catches up')
    expect([other.heard, other.gaps]).toEqual([['a', 'b', 'c', 'd'], []])
    await until(() => failing.gaps.length >= 2, 'the failing one is told of both batches')
    expectTold(failing, positions)
    await store('e')
    await until(() => other.heard.length >= 5, 'he is among the others again')
    expect(other.heard.at(-1)).toBe('e')
  })
})
