import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Command } from '../support/command.ts'
import { until } from '../support/wait.ts'
import { BackupSite } from './backups/site.ts'
import { Strikes } from './backups/strikes.ts'
import type { Victim } from './backups/victims.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const ROUNDS = isFull ? 20 : 1
const LIMIT_MS = 900_000

describe('two servers with one database and one target', () => {
  const random = new Random(newSeed())
  const tally = new Tally('backups of two servers')
  let site: BackupSite
  let strikes: Strikes
  /** Those that run, of which clients reach the first. */
  const running: Command[] = []
  beforeAll(async () => {
    site = await BackupSite.open({ way: (_, url) => ({ DATABASE_URL: url }), mayGoUnanswered: true })
    running.push(site.servers.last, await site.servers.start())
    strikes = new Strikes(site, random)
    await strikes.measure()
  }, LIMIT_MS)
  afterAll(async () => {
    tally.print()
    console.log(`backups of two servers: ${strikes}`)
    await site?.close()
  }, LIMIT_MS)

  const maker: Victim = {
    name: 'the one that makes it',
    by: 'server',
    kill: async ({ servers }, _, job) => {
      const hasBegun = ({ logs }: Command) =>
        logs.some((line) => line.job === job && line.msg === 'a backup begins')
      await until(() => running.some(hasBegun), 'one of them makes the backup')
      const [victim] = running.splice(running.findIndex(hasBegun), 1)
      victim?.signal('SIGKILL')
      await victim?.ended
      servers.line.target = (await running[0]?.url()) ?? ''
    },
  }

  it(`leave nothing half when the one is killed that makes a backup, and the other makes the next (${ROUNDS} times)`, {
    timeout: ROUNDS * LIMIT_MS,
  }, async () => {
    const { load, moving } = site
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0) running.push(await site.servers.start())
      const { seen } = await site.underLoad(async () => {
        await strikes.strike(maker)
        return site.watched(async () => {
          const { status, job } = await site.ask('POST', '', { type: 'incremental', include_trash: true })
          expect([status, await site.ended(job.id)]).toMatchObject([202, { status: 'completed' }])
        })
      })
      await strikes.expectNothingLeft()
      const wrong = site.differences(await site.restored(), seen)
      tally.rounds++
      tally.acknowledged = site.acknowledged
      tally.lost += wrong.length
      const what = `FAULTS_SEED=${random.seed}, ${load}`
      expect([what, wrong, load.strange, moving.strange]).toEqual([what, [], [], []])
    }
  })
})
