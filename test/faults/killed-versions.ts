import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBackends } from '../../src/backend/open.ts'
import { readConfig } from '../../src/config/config.ts'
import { storedInline, storedObjects } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { FAULTS, type Fault } from './crashes/faults.ts'
import { takeInventory } from './crashes/inventory.ts'
import { Site } from './crashes/site.ts'
import { findDrift } from './drift.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { damaged, differences, findHistories, readingInline, unreadable } from './versions/found.ts'
import { makeBuckets, purgeDue, TIDIED } from './versions/keeping.ts'
import { demand } from './versions/requests.ts'
import { SharedNames } from './versions/shared-names.ts'
import { Tidying } from './versions/tidying.ts'
import { VersionedLoad } from './versions/versioned-load.ts'

const ROUNDS = isFull ? 50 : 1
const CLIENTS = isFull ? 6 : 2
/** Longest time for a round, in milliseconds; a usual one takes about four seconds. */
const ROUND_LIMIT_MS = 180_000

/** Upon the one before, if that is whole. */
const BACKUP = { type: 'incremental', include_trash: true }
/** In reduced size backups give way to nobody: whoever waits for them is another test. */
const PACE = isFull ? {} : { STORAGE_BACKUP_SHARE: '1' }

/** Either ends the server, or takes the database away from it. */
const KINDS = [true, false].map((endsServer) => FAULTS.filter((fault) => fault.endsServer === endsServer))

/**
 * What becomes of versions and of the trash when the server or its database is killed, while clients write, move and bring folders
 * back to what they were, what is due is taken away, lifecycle rules are run, a backup is made, and the cleanup is at work.
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
    let shared: SharedNames
    let tidying: Tidying
    const place = () => ({ url: `${site.url}/storage/v1`, token: site.token })

    beforeAll(async () => {
      settings = await env()
      site = await Site.open({ ...PACE, ...settings })
      await site.start()
      await site.sql((sql) => makeBuckets(place(), sql, TIDIED))
      tidying = await Tidying.begin(place, TIDIED)
      shared = new SharedNames(place)
      load = new VersionedLoad({
        place,
        keeping: TIDIED,
        seed,
        shared,
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
      tally.acknowledged = (load?.acknowledged ?? 0) + (shared?.acknowledged ?? 0)
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
          expect({ what, ...outcome, strange: [...load.strange, ...shared.strange] }).toEqual({
            what,
            lost: [],
            leaked: [],
            strange: [],
          })
        }
      }
    })

    // In reduced size that is killed-backups.test.ts's.
    it.runIf(isFull)(
      'leaves nothing that keeps a backup from being whole',
      { timeout: ROUND_LIMIT_MS },
      async () => {
        const made = await site.run(['backup', 'create', '--with-trash'])
        expect(made).toMatchObject({ code: 0 })
        expect(await site.run(['backup', 'verify'])).toMatchObject({ code: 0 })
        const [row] = await site.sql(
          (sql) => sql`
          select count(*) filter (where status = 'failed')::int as failed, count(*)::int as all from storage.backup_jobs`,
        )
        console.log(`${title}: ${row?.failed} of ${row?.all} backups failed`)
      },
    )

    async function strike(fault: Fault): Promise<void> {
      const over = new AbortController()
      load.start(CLIENTS)
      const beside = [purgeAgainAndAgain(over.signal), tidying.goOn(over.signal)]
      try {
        await beginBackup()
        await load.succeeds(20 + random.below(60))
        await delay(random.below(20)) // no condition: any moment of what is going on
        await fault.strike(site, random)
        if (!fault.endsServer) await load.succeeds(20)
      } finally {
        over.abort()
        await Promise.all([load.stop(), ...beside])
      }
      if (fault.endsServer) await site.start()
    }

    /** One that has begun, or, when it is short, has ended already. */
    async function beginBackup(): Promise<void> {
      const { id } = (await demand(place(), 'POST', '/backup', BACKUP)) as { id: string }
      await until(async () => (await stateOf(id)) !== 'pending', 'a backup begins')
    }

    async function stateOf(id: string): Promise<string> {
      const response = await site.request('GET', `/backup/${id}`)
      return ((await response.json()) as { status: string }).status
    }

    /** Waits until all have ended, in whatever way, and nothing is kept for them. */
    async function settleBackups(): Promise<void> {
      await until(async () => {
        const [row] = await site.sql(
          (sql) => sql`
            select (select count(*) from storage.backup_jobs where status not in ('completed', 'failed'))
              + (select count(*) from storage.backup_holds) as left`,
        )
        return Number(row?.left) === 0
      }, 'all backups have ended, and hold nothing')
    }

    async function purgeAgainAndAgain(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        await site.sql(purgeDue).catch(() => {}) // the database is away
        await delay(50)
      }
    }

    async function check(): Promise<{ lost: string[]; leaked: string[] }> {
      await settleBackups()
      await site.sql(purgeDue)
      await tidying.tidyUp()
      await site.cleanup()
      return site.sql(async (sql) => {
        const found = await findHistories(sql)
        const wrong = [
          ...differences(found, load),
          ...shared.differences(found),
          ...(await unreadable(found, place())),
        ]
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
