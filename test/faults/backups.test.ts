import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BackupSite } from './backups/site.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

const ROUNDS = isFull ? 100 : 2
const LIMIT_MS = 900_000

/** The first of so many is a full one, and the others are made upon each other; then all of them are deleted. */
const CHAIN = 5

describe('backups of a server at work, with the PostgreSQL that comes along', () => {
  const tally = new Tally('backups under load')
  let site: BackupSite
  beforeAll(async () => {
    site = await BackupSite.open()
  }, LIMIT_MS)
  afterAll(async () => {
    tally.print()
    await site?.close()
  }, LIMIT_MS)

  it(`give back exactly what was there at their moment (${ROUNDS} times)`, {
    timeout: ROUNDS * LIMIT_MS,
  }, async () => {
    const { load, moving } = site
    for (let round = 0; round < ROUNDS; round++) {
      if (round > 0 && round % CHAIN === 0) await site.remove(await site.listed())
      const isFirst = round % CHAIN === 0
      const seen = await site.underLoad(() => site.create(...(isFirst ? [] : ['--incremental'])))
      const found = await site.restored()
      const wrong = site.differences(found, seen)
      tally.rounds++
      tally.acknowledged = site.acknowledged
      tally.lost += wrong.length
      expect(found.size).toBeGreaterThan(0)
      expect([`${load}`, wrong, load.strange, moving.strange]).toEqual([`${load}`, [], [], []])
      // No answer was missing, so that nothing could have been either way.
      expect(load.statuses.get(503)).toBeUndefined()
    }
    const listed = await site.listed()
    const folders = (await readdir(join(site.dataDir, 'backups'))).filter((name) => !name.endsWith('.json'))
    expect(folders.sort()).toEqual(listed.sort())
    expect(await site.sql((sql) => sql`select name from storage.backup_holds`)).toHaveLength(0)
  })
})
