import { readdir, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { canMount, mountSmallDisk, type SmallDisk } from '../support/small-disk.ts'
import { BackupSite } from './backups/site.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const ROUNDS = isFull ? 10 : 1
const LIMIT_MS = 900_000

describe.runIf(canMount)('a target whose disk is full (needs the right to mount)', () => {
  const seed = newSeed()
  const random = new Random(seed)
  const tally = new Tally('full backup target')
  let disk: SmallDisk
  let site: BackupSite
  /** Of a whole backup, in bytes. */
  let size = 0
  beforeAll(async () => {
    disk = mountSmallDisk('size=500m')
    site = await BackupSite.open({ env: { STORAGE_BACKUP_TARGET: target() } })
    const before = await free()
    await site.underLoad(() => site.create())
    size = before - (await free())
  }, LIMIT_MS)
  afterAll(async () => {
    tally.print()
    await site?.close()
    disk?.remove()
  }, LIMIT_MS)

  const target = () => join(disk.folder, 'backups')
  /** Takes all the room but so many bytes, as another program on the disk would. */
  const filler = () => join(disk.folder, 'filler')
  const fillUpTo = async (bytes: number) => {
    await rm(filler(), { force: true })
    await writeFile(filler(), Buffer.alloc((await free()) - bytes))
  }
  async function free(): Promise<number> {
    const { bavail, bsize } = await statfs(disk.folder)
    return bavail * bsize
  }

  it('makes the backup fail with a sentence, has nothing half of it, and takes the next one when there is room', {
    timeout: ROUNDS * LIMIT_MS,
  }, async () => {
    const { load, moving } = site
    for (let round = 0; round < ROUNDS; round++) {
      const what = `FAULTS_SEED=${seed}, round ${round}`
      if (round > 0) await site.remove(await site.listed())
      const seen = await site.underLoad(async () => {
        const before = await readdir(target())

        // Its command says so, wherever in the backup that comes about.
        await fillUpTo(random.below(size * 0.8))
        const room = await free()
        const { code, stderr } = await site.run(['backup', 'create'])
        expect([what, code, stderr]).toEqual([what, 1, expect.stringMatching(FULL)])
        expect([await readdir(target()), await free()]).toEqual([before, room])

        // And so does whoever asks the server, also where there is no room at all.
        await fillUpTo(round % 2 === 0 ? 0 : random.below(size * 0.8))
        const { job } = await site.ask('POST', '', { type: 'incremental' })
        expect(await site.ended(job.id)).toMatchObject({
          status: 'failed',
          error: expect.stringMatching(FULL),
        })
        expect(await readdir(target())).toEqual(before)
        expect(await site.sql((sql) => sql`select name from storage.backup_holds`)).toHaveLength(0)

        await rm(filler())
        return site.create('--incremental')
      })
      const wrong = site.differences(await site.restored(), seen)
      tally.rounds++
      tally.acknowledged = site.acknowledged
      tally.lost += wrong.length
      expect([what, wrong, load.strange, moving.strange]).toEqual([what, [], [], []])
      await site.succeeds(['backup', 'verify']) // the newest, and what it builds on
    }
  })
})

const FULL = /backups cannot take more: its disk is full/
