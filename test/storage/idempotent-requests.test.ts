import pino from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { forgetKeys } from '../../src/database/queries/idempotency-keys.ts'
import { forgetExpired } from '../../src/jobs/expired-rows.ts'
import { StorageError } from '../../src/model/errors.ts'
import { SecretSeal } from '../../src/storage/credentials/secret-seal.ts'
import {
  IdempotentRequests,
  parseIdempotencyKey,
  requestHash,
} from '../../src/storage/idempotent-requests.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** Requests that are sent again under one key (decision 0073). */

let db: TestDatabase
let requests: IdempotentRequests
const logger = pino({ level: 'silent' })
const SECRET = 'a secret of the servers'
const seal = new SecretSeal([SECRET])
beforeAll(async () => {
  db = await createTestDatabase({ connections: 4 })
  requests = new IdempotentRequests({ database: db.database, logger, seal })
})
afterAll(() => db.drop())

let round = 0
const newKey = () => `key ${++round}`

interface Counted {
  done: string[]
}

/** Work that notes itself. */
function ask(
  key: string | undefined,
  { done }: Counted,
  sent: {
    request?: string | null
    who?: string
    isService?: boolean
    note?: string
    work?: () => Promise<void>
    through?: IdempotentRequests
  } = {},
) {
  const { request = 'a', who = 'ada', isService = false, note = 'n', work, through = requests } = sent
  return through.once<string, string>({
    key,
    who,
    isService,
    request,
    note: () => note,
    work: async (kept, isAgain) => {
      done.push(`${kept}${isAgain ? ' again' : ''}`)
      await work?.()
      return { answer: `answer ${done.length}`, request: request ?? 'a' }
    },
    reread: async () => 'a',
  })
}

const refused = (code: string) => expect.objectContaining({ code })

describe('a request', () => {
  it('without a key is done each time', async () => {
    const counted = { done: [] }
    for (const answer of ['answer 1', 'answer 2'])
      expect(await ask(undefined, counted)).toEqual({ answer, isReplay: false })
  })

  it('with a key is done once, and answered alike; another one is refused, and others’ keys are others', async () => {
    const counted: Counted = { done: [] }
    const key = newKey()
    expect(await ask(key, counted)).toEqual({ answer: 'answer 1', isReplay: false })
    expect(await ask(key, counted)).toEqual({ answer: 'answer 1', isReplay: true })
    expect(await ask(key, counted, { request: null })).toEqual({ answer: 'answer 1', isReplay: true })
    await expect(ask(key, counted, { request: 'b' })).rejects.toEqual(refused('IdempotencyKeyReused'))
    expect(await ask(key, counted, { request: 'b', who: 'bob' })).toEqual({
      answer: 'answer 2',
      isReplay: false,
    })
    expect(counted.done).toHaveLength(2)
  })

  it('whose body alone can tell is told from another by that', async () => {
    const key = newKey()
    const counted: Counted = { done: [] }
    await ask(key, counted, { request: null })
    expect((await ask(key, counted, { request: null })).isReplay).toBe(true)
    await expect(ask(key, counted, { request: 'b' })).rejects.toEqual(refused('IdempotencyKeyReused'))
  })

  it('that is sent ten times at once is done once', async () => {
    const key = newKey()
    const counted: Counted = { done: [] }
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const all = Array.from({ length: 10 }, () => ask(key, counted, { work: () => released }))
    const settled = Promise.allSettled(all)
    const refusals = all.map((one) => one.catch((error: unknown) => error))
    await expect.poll(() => counted.done.length).toBe(1)
    // Nine are refused while the first one is at work.
    let count = 0
    for (const one of refusals) void one.then((told) => told instanceof StorageError && count++)
    await expect.poll(() => count).toBe(9)
    release()
    expect((await settled).filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(counted.done).toEqual(['n'])
  })

  it('that was refused has not been done: its key can be used for another', async () => {
    const key = newKey()
    const counted: Counted = { done: [] }
    const denied = () => Promise.reject(new StorageError('AccessDenied'))
    await expect(ask(key, counted, { work: denied })).rejects.toEqual(refused('AccessDenied'))
    expect(await ask(key, counted, { request: 'b', note: 'm' })).toEqual({
      answer: 'answer 2',
      isReplay: false,
    })
    expect(counted.done).toEqual(['n', 'm'])
  })

  it('of which nobody knows what has become goes on from its note', async () => {
    const key = newKey()
    const counted: Counted = { done: [] }
    const lost = () => Promise.reject(new StorageError('DatabaseUnavailable'))
    await expect(ask(key, counted, { work: lost })).rejects.toEqual(refused('DatabaseUnavailable'))
    await expect(ask(key, counted, { request: 'b' })).rejects.toEqual(refused('IdempotencyKeyReused'))
    expect(await ask(key, counted, { note: 'other' })).toEqual({ answer: 'answer 2', isReplay: false })
    expect(counted.done).toEqual(['n', 'n again'])
  })

  it('whose process was killed can be sent again once nothing is heard of it', async () => {
    const key = newKey()
    const killed = new IdempotentRequests({ database: db.database, logger, seal, holdMs: 1_000_000 })
    const counted: Counted = { done: [] }
    void killed.once({
      key,
      who: 'ada',
      isService: false,
      request: 'a',
      note: () => 'n',
      work: () => {
        counted.done.push('n')
        return new Promise<never>(() => {})
      },
    })
    await expect.poll(() => counted.done).toEqual(['n'])
    await expect(ask(key, counted)).rejects.toEqual(refused('IdempotencyKeyInUse'))
    await db.admin`update strongroom.idempotency_keys set held_until = now() where answer is null`
    expect(await ask(key, counted, { note: 'other' })).toEqual({ answer: 'answer 2', isReplay: false })
    expect(counted.done).toEqual(['n', 'n again'])
  })

  it('that takes longer than a key is held without a word is heard of', async () => {
    const slow = new IdempotentRequests({ database: db.database, logger, seal, holdMs: 60 })
    const key = newKey()
    let finish = () => {}
    const asked = slow.once({
      key,
      who: 'ada',
      isService: false,
      request: 'a',
      note: () => 'n',
      work: () =>
        new Promise<{ answer: string; request: string }>((resolve) => {
          finish = () => resolve({ answer: 'x', request: 'a' })
        }),
    })
    const until = async () =>
      (await db.admin`select held_until::text from strongroom.idempotency_keys where answer is null`)[0]
        ?.held_until
    const first = await expect.poll(until).toBeDefined().then(until)
    await expect.poll(until).not.toBe(first)
    finish()
    expect(await asked).toEqual({ answer: 'x', isReplay: false })
  })
})

describe('what is kept of a request', () => {
  const rows = () => db.admin<{ row: string }[]>`select k::text as row from strongroom.idempotency_keys k`

  it('does not tell its note, its answer, or what it said', async () => {
    await db.admin`delete from strongroom.idempotency_keys`
    const key = newKey()
    await ask(key, { done: [] }, { note: 'a secret note', request: requestHash('a password') })
    const [{ row } = { row: '' }] = await rows()
    expect(row).not.toMatch(/secret|answer|ada/)
    expect(row).not.toContain(requestHash('a password'))
    expect(row).not.toContain(key)
  })

  it('is answered by a server with the next secret, as long as it knows the one before', async () => {
    const key = newKey()
    const counted: Counted = { done: [] }
    await ask(key, counted)
    const through = (...secrets: [string, ...string[]]) =>
      new IdempotentRequests({ database: db.database, logger, seal: new SecretSeal(secrets) })
    expect(await ask(key, counted, { through: through('the next', SECRET) })).toEqual({
      answer: 'answer 1',
      isReplay: true,
    })
    await expect(ask(key, counted, { through: through('the next') })).rejects.toEqual(
      refused('IdempotencyKeyReused'),
    )
    expect(counted.done).toEqual(['n'])
  })

  it('is for its key alone', async () => {
    const [one, other] = [newKey(), newKey()]
    await db.admin`delete from strongroom.idempotency_keys`
    await ask(one, { done: [] })
    const [before] = await db.admin<
      { answer: string; id: Buffer }[]
    >`select id, answer from strongroom.idempotency_keys`
    await ask(other, { done: [] })
    await db.admin`update strongroom.idempotency_keys set answer = ${before?.answer ?? ''}
      where id <> ${before?.id ?? Buffer.of()}`
    await expect(ask(other, { done: [] })).rejects.toEqual(refused('IdempotencyKeyReused'))
  })
})

describe('who uses as many keys as there can be', () => {
  it('has a bounded number of rows, and takes none from others', async () => {
    await db.admin`delete from strongroom.idempotency_keys`
    const most = 300
    const through = new IdempotentRequests({ database: db.database, logger, seal, mostOfOne: most })
    const counted: Counted = { done: [] }
    const ofOne = { who: 'mallory', through }
    const keys = Array.from({ length: 2000 }, newKey)
    const hostile = Promise.allSettled(keys.map((key) => ask(key, counted, ofOne)))
    for (let n = 0; n < 20; n++) expect((await ask(newKey(), { done: [] }, { through })).isReplay).toBe(false)
    const outcomes = await hostile
    const reasons = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
    expect(reasons).toEqual(reasons.map(() => refused('TooManyIdempotencyKeys')))
    const [{ count } = { count: 0 }] = await db.admin<{ count: number }[]>`
      select count(*)::integer as count from strongroom.idempotency_keys`
    const done = outcomes.filter(({ status }) => status === 'fulfilled').length
    expect(count).toBe(done + 20)
    // As many more as there are connections may come at once.
    expect(done).toBeGreaterThanOrEqual(most)
    expect(done).toBeLessThanOrEqual(most + 4)

    const first = keys[outcomes.findIndex(({ status }) => status === 'fulfilled')]
    expect((await ask(first, counted, ofOne)).isReplay).toBe(true)
    expect((await ask(newKey(), counted, { ...ofOne, isService: true })).isReplay).toBe(false)
    await db.admin`update strongroom.idempotency_keys set created_at = now() - interval '25 hours'`
    expect((await ask(newKey(), counted, ofOne)).isReplay).toBe(false)
  })
})

it('a key lasts for a day, and is taken away then', async () => {
  await db.admin`delete from strongroom.idempotency_keys`
  const counted: Counted = { done: [] }
  const [old, recent] = [newKey(), newKey()]
  await ask(old, counted)
  await db.admin`update strongroom.idempotency_keys set created_at = now() - interval '25 hours'`
  await ask(recent, counted)
  const count = async () => (await db.admin`select from strongroom.idempotency_keys`).length
  expect(await count()).toBe(2)
  await forgetExpired(forgetKeys, db.database, new AbortController().signal)
  expect(await count()).toBe(1)
  await ask(old, counted)
  await db.admin`update strongroom.idempotency_keys set created_at = now() - interval '25 hours'`
  expect((await ask(old, counted, { request: 'b' })).isReplay).toBe(false)
})

it.each([
  ['', false],
  ['a b', true],
  [' a', false],
  ['x'.repeat(255), true],
  ['x'.repeat(256), false],
  ['ü', false],
])('the key %j may be one: %s', (key, isOne) => {
  const parse = () => parseIdempotencyKey(key)
  if (isOne) expect(parse()).toBe(key)
  else expect(parse).toThrow(expect.objectContaining({ code: 'InvalidRequest' }))
})
