import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { UNFINISHED } from '../../src/jobs/backup/target.ts'
import { until } from '../support/wait.ts'
import { BackupSite } from './backups/site.ts'
import { Strikes } from './backups/strikes.ts'
import { VICTIMS, type Victim } from './backups/victims.ts'
import { takeInventory } from './crashes/inventory.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

/** Of each victim. */
const KILLS = 10
const LIMIT_MS = 900_000

/** Who is killed, one after the other, before a backup is made that must be whole: in reduced size two, others in each run. */
function rounds(random: Random): Victim[][] {
  if (isFull) return VICTIMS.flatMap((victim) => Array<Victim[]>(KILLS).fill([victim]))
  const ofServers = VICTIMS.filter(({ by }) => by === 'server') as [Victim, ...Victim[]]
  const ofCommands = VICTIMS.filter(({ by }) => by === 'command') as [Victim, ...Victim[]]
  return [[random.pick(ofServers), random.pick(ofCommands)]]
}

describe('a backup amid which something is killed', () => {
  const seed = newSeed()
  const random = new Random(seed)
  const ROUNDS = rounds(random)
  const tally = new Tally('killed backups')
  let site: BackupSite
  let strikes: Strikes
  beforeAll(async () => {
    site = await BackupSite.open({ mayGoUnanswered: true })
    strikes = new Strikes(site, random)
    await strikes.measure()
  }, LIMIT_MS)
  afterAll(async () => {
    tally.acknowledged = site?.acknowledged ?? 0
    tally.print()
    console.log(`killed backups: ${strikes}`)
    await site?.close()
  }, LIMIT_MS)

  it(`is whole or has failed, leaves nothing, and the next one is whole (${ROUNDS.length} times)`, {
    timeout: ROUNDS.length * LIMIT_MS,
  }, async () => {
    for (const victims of ROUNDS) {
      const seen = await site.underLoad(async () => {
        for (const victim of victims) await strikes.strike(victim)
        return site.create(...(random.below(2) === 0 ? ['--incremental'] : []))
      })
      const { load, moving } = site
      const what = `FAULTS_SEED=${seed}, ${victims.map(({ name }) => name)}, ${load}`
      await strikes.expectNothingLeft()
      const entries = await readdir(join(site.dataDir, 'backups'), { recursive: true })
      expect(entries.filter((path) => path.includes(UNFINISHED))).toEqual([])
      const wrong = site.differences(await site.restored(), seen)
      tally.rounds++
      tally.lost += wrong.length
      expect([what, wrong, load.strange, moving.strange]).toEqual([what, [], [], []])
    }
  })

  it('has kept nobody from removing what was replaced and deleted meanwhile', {
    timeout: LIMIT_MS,
  }, async () => {
    // Nobody comes back for uploads that were not finished.
    await site.sql((sql) => sql`update storage.resumable_uploads set expires_at = now() where ended is null`)
    await until(async () => {
      // The server may be at its own.
      return (await site.succeeds(['cleanup'], { STORAGE_CLEANUP_GRACE: '0s' })).includes('Done:')
    }, 'it is cleaned up')
    const { lost, leaked } = await takeInventory(site)
    tally.leaked += leaked.length
    expect({ lost, leaked }).toEqual({ lost: [], leaked: [] })
  })
})
