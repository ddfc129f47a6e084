import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { forgetLinks, revokeLinks } from '../../../src/database/queries/links.ts'
import { Revocations } from '../../../src/storage/links/revocations.ts'
import { createTestDatabase } from '../../support/database.ts'
import { HeldClock } from '../../support/held-clock.ts'
import { until } from '../../support/wait.ts'

type TestDatabase = Awaited<ReturnType<typeof createTestDatabase>>

let test: TestDatabase
let asked: string[]
let isCut: boolean

/** What is asked goes to the database, and is noted; nothing does once it is cut. */
const database: Pick<TestDatabase['database'], 'read'> = {
  read: (statement, values) => {
    asked.push('keys' in (values as object) ? 'keys' : 'news')
    if (isCut) return Promise.reject(new Error('cut'))
    return test.database.read(statement, values)
  },
}
const clock = new HeldClock()

beforeAll(async () => {
  test = await createTestDatabase()
})
beforeEach(async () => {
  await test.admin`truncate storage.link_revocations`
  asked = []
  isCut = false
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
  clock.hold()
})
afterAll(async () => {
  clock.release()
  vi.useRealTimers()
  await test.drop()
})

const revoke = (
  keys: string[],
  ms: number,
  { most = 10, revoker = null as string | null, ends = 1e13 } = {},
) => revokeLinks(test.database, { keys, moment: new Date(ms), ends: new Date(ends), told: {}, revoker, most })

describe('what was taken back', () => {
  it('is asked about once, and not again within a look, nor are keys made where there is nothing', async () => {
    const revocations = new Revocations({ database })
    const never = () => expect.unreachable()
    expect(await revocations.latest(never)).toBeNull()
    for (let times = 0; times < 100; times++) expect(revocations.latest(never)).toBeNull()
    expect(asked).toEqual(['news'])
  })

  it('is the last moment of any of the keys', async () => {
    const revocations = new Revocations({ database })
    await revoke(['a', 'b'], 1000)
    await revoke(['b'], 3000)
    await revoke(['b'], 2000)
    for (const [keys, moment] of [
      [['a'], 1000],
      [['b', 'a'], 3000],
      [['c'], null],
    ] as const) {
      expect(await revocations.latest(() => [...keys])).toBe(moment)
    }
  })

  it('is known here at once, and elsewhere by the next look, for which nobody waits', async () => {
    const here = new Revocations({ database })
    const elsewhere = new Revocations({ database })
    for (const one of [here, elsewhere]) expect(await one.latest(() => ['a'])).toBeNull()
    await revoke(['a'], 1000)
    await here.learn()
    expect(here.latest(() => ['a'])).toBe(1000)
    expect(elsewhere.latest(() => ['a'])).toBeNull()
    clock.pass(300)
    expect(elsewhere.latest(() => ['a'])).toBeNull()
    await until(() => elsewhere.latest(() => ['a']) === 1000, 'the look has ended')
  })

  it('is not guessed when the database says nothing for a second', async () => {
    const revocations = new Revocations({ database })
    expect(await revocations.latest(() => ['a'])).toBeNull()
    await revoke(['a'], 1000)
    isCut = true
    clock.pass(999)
    expect(await revocations.latest(() => ['a'])).toBeNull() // as promised: within a second
    clock.pass(2)
    await expect(revocations.latest(() => ['a'])).rejects.toThrow('cut')
    isCut = false
    expect(await revocations.latest(() => ['a'])).toBe(1000)
  })

  it('is asked about one by one when there is too much to remember, until that is over', async () => {
    const revocations = new Revocations({ database, most: 3 })
    await revoke(['a', 'b', 'c', 'd'], 1000, { ends: Date.now() - 1000 })
    await revoke(['e'], 2000)
    asked = []
    expect(await revocations.latest(() => ['a', 'e'])).toBe(2000)
    expect(await revocations.latest(() => ['d'])).toBe(1000)
    expect(await revocations.latest(() => ['f'])).toBeNull()
    expect(asked).toEqual(['news', 'news', 'keys', 'keys', 'keys'])
    expect(revocations.size).toBe(0)
    expect(await forgetLinks(test.database, 100)).toBe(false)
    clock.pass(60_000)
    expect(await revocations.latest(() => ['e'])).toBe(2000)
    expect(revocations.latest(() => ['d'])).toBeNull()
    expect(revocations.size).toBe(1)
  })

  it('begins anew in another database, and after the newest were over', async () => {
    const revocations = new Revocations({ database })
    await revoke(['a'], 1000)
    await revoke(['b'], 1000, { ends: 0 })
    expect(await revocations.latest(() => ['b'])).toBe(1000)
    await forgetLinks(test.database, 100)
    clock.pass(1000)
    expect(await revocations.latest(() => ['b'])).toBeNull()
    expect(await revocations.latest(() => ['a'])).toBe(1000)
    await revoke(['c'], 1000)
    await revocations.learn()
    expect(await revocations.latest(() => ['c'])).toBe(1000)
  })
})

describe('who takes back', () => {
  it('has so many rows at most, and the service any number; what is over does not count once it is forgotten', async () => {
    for (let index = 0; index < 3; index++) {
      expect(await revoke([`a${index}`], 1, { revoker: 'somebody', most: 3, ends: 0 })).toBe(true)
    }
    expect(await revoke(['a3'], 1, { revoker: 'somebody', most: 3 })).toBe(false)
    expect(await revoke(['a3'], 1, { revoker: 'another', most: 3 })).toBe(true)
    expect(await revoke(['a4', 'a5', 'a6', 'a7'], 1, { most: 3 })).toBe(true)
    expect(await forgetLinks(test.database, 2)).toBe(true)
    expect(await forgetLinks(test.database, 2)).toBe(false)
    expect(await revoke(['a3'], 1, { revoker: 'somebody', most: 3 })).toBe(true)
  })

  it('takes its place in the order of the commits, also beside others', async () => {
    const revocations = new Revocations({ database })
    await revocations.latest(() => [])
    const keys = Array.from({ length: 40 }, (_, index) => `k${index}`)
    await Promise.all(
      keys.map(async (key) => {
        await revoke([key], 5)
        await revocations.learn()
        expect(await revocations.latest(() => [key])).toBe(5)
      }),
    )
    expect(revocations.size).toBe(keys.length)
  })
})
