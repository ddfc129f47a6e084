import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBackends } from '../../src/backend/open.ts'
import { readConfig } from '../../src/config/config.ts'
import { storedInline, storedObjects } from '../support/server.ts'
import { FAULTS, type Fault } from './crashes/faults.ts'
import { takeInventory } from './crashes/inventory.ts'
import { Site } from './crashes/site.ts'
import { findDrift } from './drift.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { damaged, differences, findHistories, readingInline, unreadable } from './versions/found.ts'
import { KEEPING, makeBuckets, purgeDue } from './versions/keeping.ts'
import { VersionedLoad } from './versions/versioned-load.ts'

const ROUNDS = isFull ? 50 : 1
const CLIENTS = isFull ? 6 : 2
/** Longest time for a round, in milliseconds; a usual one takes about four seconds. */
const ROUND_LIMIT_MS = 180_000

/** Either ends the server, or takes the database away from it. */
const KINDS = [true, false].map((endsServer) => FAULTS.filter((fault) => fault.endsServer === endsServer))

/**
 * What becomes of versions and of the trash when the server or its database is killed, while what is due is taken away and the
 * cleanup is at work.
 *
 * @param env of the servers
 */
export function itLosesNoVersion(title: string, env: () => Promise<Record<string, string>>): void {
  describe(title, () => {
    const seed = newSeed()
    const random = new Random(seed)
    const tally = new Tally(title)
    let settings: Record<string, string>
    let site: Site
    let load: VersionedLoad
    const place = () => ({ url: `${site.url}/storage/v1`, token: site.token })

    beforeAll(async () => {
      settings = await env()
      site = await Site.open(settings)
      await site.start()
      await site.sql((sql) => makeBuckets(place(), sql))
      load = new VersionedLoad({
        place,
        keeping: KEEPING,
        seed,
        expire: (bucket, name) =>
          site.sql(async (sql) => {
            await sql`
              update storage.object_versions set purge_at = now()
              where bucket_id = ${bucket} and name = ${name} and kind = 'trash'`
          }),
      })
    })
    afterAll(async () => {
      await load?.stop()
      await site?.close()
      tally.acknowledged = load?.acknowledged ?? 0
      tally.print()
      expect([tally.lost, tally.leaked]).toEqual([0, 0])
    })

    it(`loses none that was acknowledged, brings back none that was deleted, and leaves no bytes (${ROUNDS} times)`, {
      timeout: ROUNDS * KINDS.length * ROUND_LIMIT_MS,
    }, async () => {
      for (let round = 1; round <= ROUNDS; round++) {
        for (const faults of KINDS) {
          const fault = random.pick(faults as [Fault, ...Fault[]])
          tally.rounds++
          await strike(fault)
          const outcome = await check()
          tally.lost += outcome.lost.length
          tally.leaked += outcome.leaked.length
          const what = `round ${round}, ${fault.victim}, FAULTS_SEED=${seed}`
          expect({ what, ...outcome, strange: load.strange }).toEqual({
            what,
            lost: [],
            leaked: [],
            strange: [],
          })
        }
      }
    })

    async function strike(fault: Fault): Promise<void> {
      const purging = new AbortController()
      load.start(CLIENTS)
      const purges = purgeAgainAndAgain(purging.signal)
      try {
        await load.succeeds(20 + random.below(60))
        await delay(random.below(20)) // no condition: any moment of what is going on
        await fault.strike(site, random)
        if (!fault.endsServer) await load.succeeds(20)
      } finally {
        purging.abort()
        await Promise.all([load.stop(), purges])
      }
      if (fault.endsServer) await site.start()
    }

    async function purgeAgainAndAgain(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        await site.sql(purgeDue).catch(() => {}) // the database is away
        await delay(50)
      }
    }

    async function check(): Promise<{ lost: string[]; leaked: string[] }> {
      await site.sql(purgeDue)
      await site.cleanup()
      return site.sql(async (sql) => {
        const found = await findHistories(sql)
        const wrong = [...differences(found, load.possible), ...(await unreadable(found, place()))]
        if (settings.STORAGE_BACKEND !== 's3') {
          const { lost, leaked } = await takeInventory(site)
          return { lost: [...wrong, ...lost], leaked }
        }
        const config = readConfig(settings)
        const backend = await openBackends(config)
        const lost = await damaged(found, readingInline(sql, backend)).finally(() => backend.close())
        const storedFiles = async () => [...(await storedInline(sql)), ...(await storedObjects(config))]
        const drift = await findDrift({ admin: sql, storedFiles })
        return {
          lost: [...wrong, ...lost, ...drift.rowsWithoutFile],
          leaked: [...drift.filesWithoutRow, ...drift.pending],
        }
      })
    }
  })
}
