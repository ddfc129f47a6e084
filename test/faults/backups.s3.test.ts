import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeWithS3, s3Client, s3Env } from '../support/s3.ts'
import { BackupSite } from './backups/site.ts'
import { Strikes } from './backups/strikes.ts'
import { VICTIMS, type Victim } from './backups/victims.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const LIMIT_MS = 900_000

/** A copy of the built-in PostgreSQL has a thousand files, which the reduced size does without. */
const WAY = isFull ? undefined : (_: string, url: string) => ({ DATABASE_URL: url })
const OF_THE_WAY = VICTIMS.filter(({ ofDatabase }) => !ofDatabase) as [Victim, ...Victim[]]

describeWithS3('backups into a store, of a server at work', (s3) => {
  const random = new Random(newSeed())
  /** Each dies once; with a folder each dies often (killed-backups). */
  const killed = isFull ? VICTIMS : [random.pick(OF_THE_WAY)]
  const tally = new Tally('backups into a store')
  let site: BackupSite
  let strikes: Strikes
  let bucket: string
  beforeAll(async () => {
    const store = await s3Env(s3)
    bucket = store.STORAGE_S3_BUCKET ?? ''
    const env = { ...store, STORAGE_BACKEND: 'local', STORAGE_BACKUP_TARGET: `s3://${bucket}/backups` }
    site = await BackupSite.open({ env, mayGoUnanswered: true, ...(WAY && { way: WAY }) })
    strikes = new Strikes(site, random)
    await strikes.measure()
  }, LIMIT_MS)
  afterAll(async () => {
    tally.print()
    console.log(`backups into a store: ${strikes}`)
    await site?.close()
  }, LIMIT_MS)

  it(`give back exactly what was there, though others were killed meanwhile (${killed.length} times)`, {
    timeout: killed.length * LIMIT_MS,
  }, async () => {
    const { load, moving } = site
    for (const victim of killed) {
      if (tally.rounds > 0) await site.remove(await site.listed())
      const seen = await site.underLoad(async () => {
        await site.create()
        await strikes.strike(victim)
        return site.create('--incremental')
      })
      await strikes.expectNothingLeft()
      expect(await unfinished()).toEqual([])
      const wrong = site.differences(await site.restored(), seen)
      tally.rounds++
      tally.acknowledged = site.acknowledged
      tally.lost += wrong.length
      const what = `FAULTS_SEED=${random.seed}, ${victim.name}, ${load}`
      expect([what, wrong, load.strange, moving.strange]).toEqual([what, [], [], []])
    }
  })

  /** What killed backups have left in the store that no list of it shows. */
  async function unfinished(): Promise<unknown[]> {
    const client = s3Client(s3)
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
    client.destroy()
    return Uploads
  }
})
