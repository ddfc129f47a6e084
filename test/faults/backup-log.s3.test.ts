import { afterAll, beforeAll, expect, it } from 'vitest'
import { readConfig } from '../../src/config/config.ts'
import { readLogStatus } from '../../src/jobs/backup/log-folder.ts'
import { openTarget } from '../../src/jobs/backup/open-target.ts'
import type { BackupTarget } from '../../src/jobs/backup/target.ts'
import { describeWithS3, s3Env } from '../support/s3.ts'
import { until } from '../support/wait.ts'
import { BackupSite } from './backups/site.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const ROUNDS = isFull ? 10 : 1
const LIMIT_MS = 900_000

describeWithS3('the log in a store, of a server that is killed while it follows it', (s3) => {
  const tally = new Tally('killed log')
  let site: BackupSite
  let target: BackupTarget
  beforeAll(async () => {
    const store = await s3Env(s3)
    const name = `s3://${store.STORAGE_S3_BUCKET}/backups`
    const env = {
      ...store,
      STORAGE_BACKEND: 'local',
      STORAGE_BACKUP_TARGET: name,
      STORAGE_BACKUP_LOG: 'true',
    }
    site = await BackupSite.open({ env, mayGoUnanswered: true })
    target = await openTarget(name, readConfig(env), { forWriting: true })
    await until(async () => (await readLogStatus(target)) !== null, 'the log is followed')
    await site.create()
  }, LIMIT_MS)
  afterAll(async () => {
    tally.print()
    await target?.close()
    await site?.close()
  }, LIMIT_MS)

  it(`gives back exactly what was there at a moment between two deaths (${ROUNDS} times)`, {
    timeout: ROUNDS * LIMIT_MS,
  }, async () => {
    const { load, moving } = site
    for (let round = 0; round < ROUNDS; round++) {
      const { seen, result: at } = await site.underLoad(async () => {
        await killed()
        const watched = await site.watched(async () => {
          const moment = new Date(Date.now() + 1)
          await until(() => Date.now() > moment.getTime(), 'the moment is over')
          return moment
        })
        await load.succeeds(20)
        await killed()
        return watched
      })
      await until(async () => {
        await site.sql((sql) => sql`select pg_switch_wal()`) // a server does so once a minute
        return Date.parse((await readLogStatus(target))?.until ?? '') >= at.getTime()
      }, 'the log reaches the moment')
      const wrong = site.differences(await site.restored(['--at', at.toISOString()]), seen)
      tally.rounds++
      tally.acknowledged = site.acknowledged
      tally.lost += wrong.length
      expect([`${load}`, wrong, load.strange, moving.strange]).toEqual([`${load}`, [], [], []])
      expect(await site.succeeds(['backup', 'verify'])).toContain('The log is whole')
    }
  })

  /** The server, and the PostgreSQL that it has started; another one goes on. */
  async function killed(): Promise<void> {
    const { last } = site.servers
    const { postgres } = last
    last.signal('SIGKILL')
    if (postgres !== undefined) process.kill(postgres, 'SIGKILL')
    await last.ended
    await site.servers.start()
    await site.load.succeeds(20)
  }
})
