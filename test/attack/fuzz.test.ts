import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sha256 } from '../support/seeded-bytes.ts'
import { until } from '../support/wait.ts'
import { type Arsenal, arm } from './fuzz/arsenal.ts'
import { attackOf, fuzz } from './fuzz/fuzz.ts'
import { besideInnocent } from './support/innocent.ts'
import { isFull, newSeed } from './support/size.ts'
import { Victim } from './support/victim.ts'

/** Requests of each mode. */
const REQUESTS = isFull ? 50_000 : 1000
/** Before these are over, connections of the pool and memories of the hot are still being made. */
const WARM_UP = 500
/** What may be held besides: pages and connections that are kept for the next. In bytes, and in files. */
const MARGIN = { memory: 32 * 1024 * 1024, files: 10 }

it('a seed makes the same requests again', () => {
  const arsenal: Arsenal = {
    tokens: { good: ['a'], bad: ['b'] },
    uploads: ['/u'],
    links: ['/l'],
    s3: { keys: [{ accessKeyId: 'c', secretAccessKey: 'd', at: new Date() }], uploads: ['e'] },
  }
  const numbers = Array.from({ length: 200 }, (_, number) => number)
  const attacks = (seed: number) =>
    sha256(Buffer.concat(numbers.map((number) => attackOf(seed, number, arsenal).bytes)))
  expect(attacks(7)).toBe(attacks(7))
  expect(attacks(7)).not.toBe(attacks(8_000_000))
})

describe.each([
  ['the default mode', {}],
  ['STORAGE_COMPAT=supabase', { STORAGE_COMPAT: 'supabase' }],
])('random requests, valid and not, in %s', (mode, env: Record<string, string>) => {
  const seed = newSeed()
  let victim: Victim
  let arsenal: Arsenal
  beforeAll(async () => {
    victim = await Victim.start({ ...env, STORAGE_CACHE_SIZE: '4MB' })
    arsenal = await arm(victim)
  })
  afterAll(() => victim?.close())

  it('are all answered or closed, and leave nothing behind', {
    timeout: 120_000 + REQUESTS * 20,
  }, async () => {
    expect((await fuzz(victim.url, arsenal, { seed, first: 0, count: WARM_UP })).complaints).toEqual([])
    const before = await victim.holdings()

    const range = { seed, first: WARM_UP, count: REQUESTS }
    const { result, uploads } = await besideInnocent(victim, () => fuzz(victim.url, arsenal, range))
    console.log(`${mode}, seed ${seed}: ${result}; beside ${uploads} uploads`)

    expect(result.complaints).toEqual([])
    expect(victim.command.isRunning).toBe(true)
    expect(victim.faults()).toEqual([])
    expect(await victim.strays()).toEqual([])
    // Or the requests were not what they should be.
    expect([...result.statuses.keys()]).toEqual(expect.arrayContaining([101, 200, 204, 400, 404]))
    let now = before
    await until(
      async () => {
        now = await victim.holdings()
        return now.memory < before.memory + MARGIN.memory && now.files < before.files + MARGIN.files
      },
      `it holds as much as before: ${JSON.stringify(before)}`,
    ).catch((error) => expect.fail(`${error.message}, not ${JSON.stringify(now)}`))
  })
})
