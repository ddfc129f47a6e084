import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { buildMutant, mutated, removeMutant } from './mutant.ts'
import { MUTANTS } from './order/mutants.ts'
import { Rounds } from './order/rounds.ts'
import { newSeed } from './random.ts'
import { isFull } from './size.ts'

const OPERATIONS = isFull ? 1_000_000 : 2000
const ROUND = isFull ? 10_000 : 2000

/** Longest time for a round, in milliseconds. */
const ROUND_LIMIT_MS = 300_000

/** Within so many operations a build that does one thing less has been found out. */
const MUTANTS_OPERATIONS = 6000
const MUTANTS_ROUND = 1500

const seed = newSeed()

describe('32 clients on 8 names, through REST, S3 and TUS, on two servers that are killed', () => {
  let rounds: Rounds
  beforeAll(async () => {
    rounds = await Rounds.open({ seed })
  })
  afterAll(async () => {
    await rounds?.close()
    const { answered, unanswered } = rounds.crowd
    console.log(`order: ${rounds.kills} kills, ${answered} operations answered, ${unanswered} not`)
  })

  it('are told what one order of all operations explains', {
    timeout: Math.ceil(OPERATIONS / ROUND) * ROUND_LIMIT_MS,
  }, async () => {
    while (rounds.crowd.answered < OPERATIONS) {
      await rounds.round(ROUND)
      expect(rounds.problems(), `after ${rounds.crowd.answered} operations with FAULTS_SEED=${seed}`).toEqual(
        [],
      )
      if (isFull)
        console.log(`${rounds.crowd.answered} operations answered, ${rounds.kills} kills, and no fault`)
    }
    expect(rounds.crowd.unused).toEqual([])
  })
})

describe('a build that does not keep the order', () => {
  it.each(MUTANTS)('can be made, omitting $omits', (mutant) => {
    expect(mutated(mutant)).not.toContain(mutant.find)
  })

  it.runIf(isFull).each(MUTANTS)(
    'is found out when it omits $omits',
    { timeout: ROUND_LIMIT_MS },
    async (mutant) => {
      const folder = buildMutant(mutant)
      onTestFinished(() => removeMutant(folder))
      const rounds = await Rounds.open({ seed, main: join(folder, 'dist/main.js') })
      onTestFinished(() => rounds.close())
      const problems: string[] = []
      while (problems.length === 0 && rounds.crowd.answered < MUTANTS_OPERATIONS) {
        await rounds.round(MUTANTS_ROUND, { isStruck: false })
        problems.push(...rounds.problems())
      }
      expect(problems).not.toEqual([])
    },
  )
})
