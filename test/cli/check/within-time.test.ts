import { expect, it } from 'vitest'
import { withinTime } from '../../../src/cli/check/within-time.ts'
import type { CheckResult } from '../../../src/model/check-result.ts'

const reached: CheckResult = { about: 'database', state: 'ok', says: 'reached' }

async function all(results: AsyncGenerator<CheckResult>): Promise<CheckResult[]> {
  const found: CheckResult[] = []
  for await (const result of results) found.push(result)
  return found
}

it('hands on what is found in time, and ends with it', async () => {
  async function* prompt() {
    yield reached
  }
  expect(await all(withinTime(prompt(), 10_000, 'database', 'DATABASE_URL'))).toEqual([reached])
})

it('ends with a failure that names the setting when no further answer comes', async () => {
  async function* stuck() {
    yield reached
    await new Promise(() => {})
  }
  expect(await all(withinTime(stuck(), 20, 'database', 'DATABASE_URL'))).toEqual([
    reached,
    {
      about: 'database',
      state: 'failed',
      says: expect.stringMatching(/did not answer within .* DATABASE_URL$/),
    },
  ])
})
