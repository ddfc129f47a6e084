import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { takeInventory } from './crashes/inventory.ts'
import { buildMutant, mutated, removeMutant } from './mutant.ts'
import { isDatabaseRecorded } from './power-loss/database-disk.ts'
import { anything, EVERYTHING } from './power-loss/loss.ts'
import { type BootOptions, Machine } from './power-loss/machine.ts'
import { DATABASE_MUTANTS, MUTANTS, type UnflushedMutant } from './power-loss/mutants.ts'
import { Writer } from './power-loss/writer.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { differences, findHistories, unreadable } from './versions/found.ts'
import { makeBuckets, TIDIED } from './versions/keeping.ts'
import { SharedNames } from './versions/shared-names.ts'
import { Tidying } from './versions/tidying.ts'
import { VersionedLoad } from './versions/versioned-load.ts'

const ROUNDS = isFull ? 30 : 2
const VERSION_ROUNDS = isFull ? 50 : 1
const WRITERS = isFull ? ['a', 'b', 'c', 'd', 'e'] : ['a', 'b', 'c']

/** The power fails at most so many changes of files later than 100 of them, each counted as it begins and as it ends. */
const LATEST_MOMENT = isFull ? 4000 : 1500

/** The same amid versions, whose clients ask about what they have done, and change less. */
const LATEST_OF_VERSIONS = 1500

/** About how many changes of files a first start makes, twice: begun and ended. Past its end nothing happens. */
const FIRST_START_RECORDS = 36

/** Longest time for a round, in milliseconds; a usual one takes about two seconds. */
const ROUND_LIMIT_MS = 120_000

const seed = newSeed()
const random = new Random(seed)

/** In reduced size others in each run. */
const TRIED_MUTANTS = isFull ? MUTANTS : [random.pick(MUTANTS)]
const TRIED_DATABASE_MUTANTS = isFull ? DATABASE_MUTANTS : [random.pick(DATABASE_MUTANTS)]

let machine: Machine
beforeAll(async () => {
  machine = await Machine.build()
})
afterAll(() => machine?.close())

describe('when the power fails amid uploads, overwrites, copies, moves, deletes, multipart uploads and `inline`', () => {
  const total = new Tally('power loss')
  let writers: Writer[] = []

  beforeAll(() => {
    writers = WRITERS.map((name) => new Writer(name, machine, new Random(random.below(2 ** 31))))
  })
  afterAll(async () => {
    await machine.losePower(EVERYTHING)
    total.acknowledged = writers.reduce((sum, writer) => sum + writer.acknowledged, 0)
    total.print()
  })

  it('the next start has all that was acknowledged, and a cleanup removes the rest', {
    timeout: (ROUNDS + 1) * ROUND_LIMIT_MS,
  }, async () => {
    for (let round = 1; round <= ROUNDS; round++) {
      const diesAt = 100 + random.below(LATEST_MOMENT)
      const canLink = round % 3 !== 0
      await machine.boot({ diesAt, canLink, keepsInline: random.below(2) === 0 })
      if (round > 1) await settle()
      const untilPowerFails = async () => {
        const problems = await Promise.all(writers.map((writer) => writer.work()))
        await machine.dies()
        // In part already behind the first start, before PostgreSQL has made a checkpoint of its own.
        await machine.losePower(round % 2 === 1 ? anything(random) : EVERYTHING)
        return problems.flat()
      }
      // In half of them, with either loss, bytes go to and fro between files and the database meanwhile.
      const moving = round % 4 >= 2 ? machine.moveInline({ canLink }) : []
      const problems = (await Promise.all([untilPowerFails(), moving])).flat()
      expect(problems, `round ${round} with FAULTS_SEED=${seed}`).toEqual([])
      total.rounds++
    }
    await machine.boot()
    await settle()
  })

  /** Compares all there is with all that was acknowledged. */
  async function settle(): Promise<void> {
    const checks = await Promise.all(writers.map((writer) => writer.check()))
    const problems = checks.flatMap(({ problem }) => problem ?? [])
    // Nobody comes back for uploads that were not finished.
    await machine.sql((sql) => sql`update storage.resumable_uploads set expires_at = now()`)
    await machine.cleanUp()
    const { rows, lost, leaked } = await takeInventory(machine)
    total.lost += problems.length + lost.length
    total.leaked += leaked.length
    const message = `after round ${total.rounds} with FAULTS_SEED=${seed}`
    expect({ problems, lost, leaked }, message).toEqual({ problems: [], lost: [], leaked: [] })
    expect(rows, message).toEqual(new Map(checks.flatMap(({ found }) => [...found])))
  }
})

describe('when the power fails amid versions and the trash', () => {
  const total = new Tally('power loss amid versions')
  let computer: Machine
  let load: VersionedLoad
  let shared: SharedNames
  let tidying: Tidying
  const place = () => ({ url: `${computer.url}/storage/v1`, token: computer.token })

  beforeAll(async () => {
    computer = await Machine.build()
    shared = new SharedNames(place)
    load = new VersionedLoad({ place, keeping: TIDIED, seed: random.below(2 ** 31), shared })
  })
  afterAll(async () => {
    await computer?.close()
    total.acknowledged = load.acknowledged + shared.acknowledged
    total.print()
  })

  it('the next start has every version that was acknowledged, and none that was deleted', {
    timeout: (VERSION_ROUNDS + 1) * ROUND_LIMIT_MS,
  }, async () => {
    for (let round = 1; round <= VERSION_ROUNDS; round++) {
      const keepsInline = random.below(2) === 0
      if (round === 1) {
        await computer.boot({ keepsInline })
        await computer.sql((sql) => makeBuckets(place(), sql, TIDIED))
        tidying = await Tidying.begin(place, TIDIED)
        await computer.losePower(EVERYTHING)
      }
      const diesAt = 100 + random.below(LATEST_OF_VERSIONS)
      await computer.boot({ diesAt, canLink: round % 3 !== 0, keepsInline })
      load.start(WRITERS.length)
      const over = new AbortController()
      const tidies = tidying.goOn(over.signal)
      await computer.dies().finally(() => {
        over.abort()
        return Promise.all([load.stop(), tidies])
      })
      await computer.losePower(random.below(2) === 0 ? anything(random) : EVERYTHING)
      await computer.boot()
      await tidying.tidyUp()
      await computer.cleanUp()
      total.rounds++
      const found = await computer.sql(findHistories)
      const wrong = [
        ...differences(found, load),
        ...shared.differences(found),
        ...(await unreadable(found, place())),
      ]
      const { lost, leaked } = await takeInventory(computer)
      await computer.losePower(EVERYTHING)
      total.lost += wrong.length + lost.length
      total.leaked += leaked.length
      const what = `round ${round} with FAULTS_SEED=${seed}`
      expect({ what, wrong, lost, leaked, strange: [...load.strange, ...shared.strange] }).toEqual({
        what,
        wrong: [],
        lost: [],
        leaked: [],
        strange: [],
      })
    }
  })
})

describe('when the power fails during the very first start', () => {
  const moments = Array.from({ length: FIRST_START_RECORDS }, (_, index) => index + 1)
  const chosen = isFull ? moments : [random.pick([1, ...moments])]

  it.each(chosen)('at its change %i of files, the next start needs no help', async (diesAt) => {
    const computer = await Machine.build()
    onTestFinished(() => computer.close())
    await computer.boot({ diesAt }).catch(() => computer.dies())
    await computer.losePower(EVERYTHING)
    await computer.boot()
    const writer = new Writer('first', computer, random)
    await writer.exercise()
    expect(await writer.check()).toEqual({ found: expect.anything(), problem: undefined })
  })
})

describe('a build that leaves out a flush', () => {
  let builds = 0

  it('is found out, as ours loses nothing by the same operations', async () => {
    // In reduced size either in about half of the runs.
    const ways = isFull ? [false, true] : [random.below(2) === 0]
    for (const keepsInline of ways) {
      expect(await lossOf({ keepsInline }), `with FAULTS_SEED=${seed}`).toBeUndefined()
    }
    if (isFull) {
      expect(await lossOf({ canLink: false })).toBeUndefined()
      machine.erase()
      expect(await lossOf({ keepsNoFiles: true })).toBeUndefined()
    }
  })

  it.each([...MUTANTS, ...DATABASE_MUTANTS])('can be made, omitting $omits', (mutant) => {
    expect(mutated(mutant)).not.toContain(mutant.find)
  })

  it.each(TRIED_MUTANTS)('is found out when it omits $omits', findOut)

  it.skipIf(!isDatabaseRecorded).each(TRIED_DATABASE_MUTANTS)('is found out when it omits $omits', findOut)

  async function findOut(mutant: UnflushedMutant): Promise<void> {
    const folder = buildMutant(mutant)
    onTestFinished(() => removeMutant(folder))
    // What is flushed once has to be made anew; and what the build before has lost may be the keys, or half a database.
    machine.erase()
    const { copiesBytes, keepsNoFiles, keepsInline } = mutant
    if (copiesBytes) {
      await machine.boot() // a disk that cannot link lets no keys be made
      await machine.losePower(EVERYTHING)
    }
    const main = join(folder, 'dist/main.js')
    const loss = await lossOf({ main, canLink: !copiesBytes, keepsNoFiles, keepsInline })
    expect(loss, `with FAULTS_SEED=${seed}`).toBeDefined()
  }

  /** What is not as it was acknowledged, after a build has done its work and the power has failed. */
  async function lossOf(build: BootOptions): Promise<string | undefined> {
    const { keepsNoFiles, keepsInline } = build
    const writer = new Writer(`build-${builds++}`, machine, new Random(seed))
    await machine.boot(build)
    await writer.exercise({ keepsNoFiles })
    await machine.losePower(EVERYTHING)
    const failure = await machine.boot({ keepsNoFiles, keepsInline }).catch(String)
    const loss = failure ?? (await writer.check()).problem
    await machine.losePower(EVERYTHING)
    return loss
  }
})
