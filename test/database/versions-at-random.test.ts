import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newSeed, Random } from '../faults/random.ts'
import { isFull } from '../faults/size.ts'
import { openVersionSessions, type VersionSessions } from '../support/version-sessions.ts'

/*
 * Several sessions that do whatever comes to them with the same two names, by plain SQL and by the functions of the server. However
 * that falls out, no number is there twice, no two versions at one time, and no bytes are lost or left; and who changes one name waits for
 * nobody who waits for him.
 *
 * FAULTS=full does much more of it. FAULTS_SEED repeats the choices.
 */

const DEEDS = isFull ? 4000 : 60
const SESSIONS = 4
const seed = newSeed()

let at: VersionSessions
beforeAll(async () => {
  at = await openVersionSessions(SESSIONS)
})
afterAll(() => at?.close())

/** What a deed may meet with, whoever is first: the name is taken. */
const REFUSALS = new Set(['23505', 'SR003'])
/** Two names in two orders. */
const DEADLOCK = '40P01'

describe.each([
  ['ENABLED', false],
  ['SUSPENDED', false],
  ['ENABLED', true],
  ['SUSPENDED', true],
])('where versions are %s, and objects change their names: %s', (status, renames) => {
  it(`each name has one order, FAULTS_SEED=${seed}`, { timeout: 3_600_000 }, async () => {
    await at.makeBucket('ENABLED', 5)
    if (status !== 'ENABLED') await at.setStatus(status)
    const failures: unknown[] = []
    const found: unknown[] = []
    await Promise.all(
      at.sessions.map(async (_, n) => {
        const random = new Random(seed + n)
        for (let turn = 0; turn < DEEDS; turn++) {
          const code = await deed(n, random, renames).catch((error) => error.code ?? error)
          if (code !== undefined && !REFUSALS.has(code) && !(renames && code === DEADLOCK))
            failures.push(code)
          // What has gone by its number by the end tells nobody any more.
          found.push(...(await at.disorder()), ...(await at.lostBytes()))
          if (found.length > 0) return
        }
      }),
    )
    expect(failures).toEqual([])
    expect(found).toEqual([])
  })
})

async function deed(n: number, random: Random, renames: boolean): Promise<void> {
  const tx = at.sessions[n] ?? at.one
  const name = random.pick(['a', 'b'])
  const other = name === 'a' ? 'b' : 'a'
  switch (random.below(renames ? 13 : 11)) {
    case 0:
      return void (await at.insert(tx, name))
    case 1:
    case 2:
      return void (await at.upsert(tx, name))
    case 3:
      return void (await at.put(tx, name))
    case 4:
    case 5:
      return void (await at.remove(tx, name))
    case 6:
      return at.inOne(tx, async () => {
        await at.insert(tx, name)
        await at.remove(tx, name)
      })
    case 7:
      return at.inOne(tx, async () => {
        await tx`set local storage.deletion = 'replace'`
        if ((await at.remove(tx, name)).count > 0) await at.insert(tx, name)
      })
    case 8:
      return void (await at.markDeleted(tx, name))
    case 9: {
      const version = random.pick([randomUUID(), ...(await at.versions(name))])
      return void (await at.deleteVersion(tx, name, version))
    }
    case 10:
      return void (await at.erase(tx, name))
    case 11:
      return void (await at.rename(tx, name, other))
    default: {
      const version = random.pick([randomUUID(), ...(await at.versions(name))])
      return void (await at.moveVersion(tx, name, version, other))
    }
  }
}
