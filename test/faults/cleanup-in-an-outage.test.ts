import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../support/wait.ts'
import { FAULTS } from './crashes/faults.ts'
import { takeInventory } from './crashes/inventory.ts'
import { Site } from './crashes/site.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const seed = newSeed()
const OUTAGES = FAULTS.filter(({ endsServer }) => !endsServer)
const ROUNDS = isFull ? 10 : 1

let site: Site
const counts = new Tally('cleanup in an outage')

beforeAll(async () => {
  site = await Site.open()
  await site.start()
})
afterAll(async () => {
  await site?.close()
  counts.print()
})

it.each(OUTAGES)(
  'strongroom cleanup leaves the database to its server when $victim was killed a moment ago',
  {
    timeout: ROUNDS * 120_000,
  },
  async (fault) => {
    const random = new Random(seed)
    for (let round = 0; round < ROUNDS; round++) {
      counts.rounds++
      const name = `bucket-${counts.rounds}`
      const made = await site.request('POST', '/bucket', { name })
      expect([made.status, await made.text()]).toEqual([201, expect.anything()])
      counts.acknowledged++

      await fault.strike(site, random)
      await site.cleanup()

      expect(site.server.isRunning, `FAULTS_SEED=${seed}: ${site.server.stdout}${site.server.stderr}`).toBe(
        true,
      )
      await until(async () => (await site.request('GET', '/bucket')).status === 200, 'the server is back')
      const found = await site.request('GET', `/bucket/${name}`)
      const { leaked } = await takeInventory(site)
      counts.lost += found.status === 200 ? 0 : 1
      counts.leaked += leaked.length
      expect([found.status, await found.text(), leaked]).toEqual([200, expect.anything(), []])
    }
  },
)
