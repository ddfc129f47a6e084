import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openBackends } from '../../src/backend/open.ts'
import { VersionRetention } from '../../src/jobs/version-retention.ts'
import { InlineBackend } from '../../src/storage/inline/inline-backend.ts'
import { tryCleanUp } from '../support/cleanup.ts'
import { type Mishap, openPostgresProxy, type PostgresProxy } from '../support/postgres-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { driftCount, findDrift, NO_DRIFT } from './drift.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'
import { damaged, differences, findHistories, unreadable } from './versions/found.ts'
import { makeBuckets, TIDIED } from './versions/keeping.ts'
import { SharedNames } from './versions/shared-names.ts'
import { Tidying } from './versions/tidying.ts'
import { VersionedLoad } from './versions/versioned-load.ts'

const ROUNDS = isFull ? 50 : 1
const CLIENTS = isFull ? 6 : 2
/** Of the round trips that change something, and of all others, one in so many is cut. */
const ONE_OF = { change: 4, other: 60 }
/** So many changes have no answer in each round. */
const ENOUGH = isFull ? 25 : 2
const ROUND_LIMIT_MS = 300_000

/** Commits, and what is a transaction of its own. */
const CHANGE =
  /commit|put_object|delete_objects|delete_versions|mark_deleted|restore_trash|delete_trash|empty_trash|expire_/

/**
 * What becomes of versions and of the trash when connections to the database are cut, also in the middle of a commit, while what is
 * due is taken away.
 *
 * @param env of the server
 */
export function itKeepsVersionsOfCutConnections(
  title: string,
  env: () => Promise<Record<string, string>>,
): void {
  describe(title, () => {
    const seed = newSeed()
    const random = new Random(seed)
    const tally = new Tally(title)
    let proxy: PostgresProxy
    let server: TestServer
    let load: VersionedLoad
    let shared: SharedNames
    let tidying: Tidying
    let retention: VersionRetention
    let backend: InlineBackend
    const place = () => ({ url: `${server.url}/storage/v1`, token: server.keys.serviceKey })

    beforeAll(async () => {
      proxy = await openPostgresProxy()
      server = await startTestServer(await env(), { databaseUrl: (name) => proxy.url(name) })
      await makeBuckets(place(), server.admin, TIDIED)
      tidying = await Tidying.begin(place, TIDIED)
      shared = new SharedNames(place)
      const { database, config } = server
      backend = new InlineBackend(await openBackends(config), database)
      retention = new VersionRetention({ database, backend, logger: pino({ level: 'silent' }), batch: 3 })
      load = new VersionedLoad({
        place,
        keeping: TIDIED,
        seed,
        shared,
        expire: async (bucket, name) => {
          await server.admin`
            update storage.object_versions set purge_at = now()
            where bucket_id = ${bucket} and name = ${name} and kind = 'trash'`
        },
      })
    })
    afterAll(async () => {
      await load?.stop()
      await backend?.close()
      await server?.close()
      await proxy?.close()
      tally.acknowledged = (load?.acknowledged ?? 0) + (shared?.acknowledged ?? 0)
      tally.print()
      expect([tally.lost, tally.leaked]).toEqual([0, 0])
    })

    it(`loses none that was acknowledged, brings back none that was deleted, and leaves no bytes (${ROUNDS} times)`, {
      timeout: ROUNDS * ROUND_LIMIT_MS,
    }, async () => {
      for (let round = 1; round <= ROUNDS; round++) {
        await cut()
        await retention.round(NEVER)
        await tidying.tidyUp()
        await until(async () => (await tryCleanUp(server)) !== null, 'nobody else cleans up')
        const [found, drift] = [await findHistories(server.admin), await findDrift(server)]
        const lost = [
          ...differences(found, load),
          ...shared.differences(found),
          ...(await unreadable(found, place())),
          ...(await damaged(found, (at, size) => backend.readWhole(at, size))),
        ]
        tally.rounds++
        tally.lost += lost.length
        tally.leaked += driftCount(drift)
        const what = `round ${round}, ${load}`
        expect({ what, lost, drift, strange: [...load.strange, ...shared.strange] }).toEqual({
          what,
          lost: [],
          drift: NO_DRIFT,
          strange: [],
        })
      }
    })

    /** Lets clients work, and what is due be taken away, until enough has been cut. */
    async function cut(): Promise<void> {
      const over = new AbortController()
      load.start(CLIENTS)
      const before = retention.purged
      const purges = purgeAgainAndAgain(over.signal)
      const tidies = tidying.goOn(over.signal)
      try {
        await load.succeeds(20)
        const isEnough = cutting()
        await until(
          () => isEnough() && (!isFull || retention.purged > before),
          'changes had no answer, and some were due',
        )
        proxy.decide = undefined
        await load.succeeds(20)
      } finally {
        proxy.decide = undefined
        over.abort()
        await Promise.all([load.stop(), purges, tidies])
      }
    }

    /** Begins to cut. @returns whether that is enough */
    function cutting(): () => boolean {
      let unanswered = 0
      const kinds: [Mishap, ...Mishap[]] = [{ kind: 'before' }, { kind: 'after' }, { kind: 'behind' }]
      proxy.arm(0, undefined, random.below(2) === 0 ? 'end' : 'reset')
      proxy.decide = (about) => {
        const isChange = CHANGE.test(about)
        if (random.below(isChange ? ONE_OF.change : ONE_OF.other) > 0) return undefined
        const mishap = random.pick(kinds)
        if (isChange && mishap.kind === 'after') unanswered++
        return mishap
      }
      return () => unanswered >= ENOUGH
    }

    async function purgeAgainAndAgain(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        await retention.round(NEVER)
        await delay(50)
      }
    }
  })
}

const NEVER = new AbortController().signal
