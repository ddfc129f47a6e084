import { expect, it } from 'vitest'
import { withinTime } from '../../../src/cli/check/within-time.ts'
import type { Finding } from '../../../src/model/check-result.ts'

const reached: Finding = { about: 'database', state: 'ok', says: 'reached' }

async function all(findings: AsyncGenerator<Finding>): Promise<Finding[]> {
  const found: Finding[] = []
  for await (const finding of findings) found.push(finding)
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
