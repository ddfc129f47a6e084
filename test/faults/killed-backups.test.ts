import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { UNFINISHED } from '../../src/jobs/backup/target.ts'
import { until } from '../support/wait.ts'
import { BackupSite } from './backups/site.ts'
import { takeInventory } from './crashes/inventory.ts'
import { newSeed, Random } from './random.ts'
import { isFull } from './size.ts'
import { Tally } from './tally.ts'

/** Of each victim. */
const KILLS = 10
const LIMIT_MS = 900_000

interface Victim {
  name: string
  /** Who is to make the backup. */
  by: 'command' | 'server'
  kill(site: BackupSite, random: Random): Promise<void>
}

const VICTIMS: Victim[] = [
  {
    name: 'the command that makes it',
    by: 'command',
    kill: async (site) => site.lastCommand.signal('SIGKILL'),
  },
  {
    name: 'the server that was asked for it',
    by: 'server',
    kill: async ({ servers }) => {
      servers.last.signal('SIGKILL')
      await servers.last.ended
      await servers.start()
    },
  },
  { name: 'the main process of the database', by: 'server', kill: async (site) => killMain(site) },
  {
    name: 'the main process of the database, beside a command',
    by: 'command',
    kill: async (site) => killMain(site),
  },
  {
    name: 'a session of the database',
    by: 'server',
    kill: async (site, random) => {
      const sessions = await site.sql(
        (sql) => sql<{ pid: number }[]>`
        select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`,
      )
      const [first = 0, ...others] = sessions.map(({ pid }) => pid)
      process.kill(random.pick([first, ...others]), 'SIGKILL') // PostgreSQL then ends all others
    },
  },
]

function killMain(site: BackupSite): void {
  const { postgres } = site.servers.last
  if (postgres === undefined) throw new Error('no database runs')
  process.kill(postgres, 'SIGKILL')
}

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
  let kills = 0
  /** Of the jobs that were struck. */
  const fates = { completed: 0, failed: 0 }
  /** How long a backup takes here, in milliseconds: a kill comes somewhere within it. */
  let tookMs = 0
  beforeAll(async () => {
    site = await BackupSite.open({ mayGoUnanswered: true })
    await site.underLoad(async () => {
      const begunAt = performance.now()
      await site.create()
      tookMs = performance.now() - begunAt
    })
  }, LIMIT_MS)
  afterAll(async () => {
    tally.acknowledged = site?.acknowledged ?? 0
    tally.print()
    console.log(
      `killed backups: ${kills} kills, ${fates.failed} backups failed, ${fates.completed} were whole`,
    )
    await site?.close()
  }, LIMIT_MS)

  it(`is whole or has failed, leaves nothing, and the next one is whole (${ROUNDS.length} times)`, {
    timeout: ROUNDS.length * LIMIT_MS,
  }, async () => {
    for (const victims of ROUNDS) {
      const seen = await site.underLoad(async () => {
        for (const victim of victims) await strike(victim)
        return site.create(...(random.below(2) === 0 ? ['--incremental'] : []))
      })
      const { load, moving } = site
      const what = `FAULTS_SEED=${seed}, ${victims.map(({ name }) => name)}, ${load}`
      await expectNothingLeft()
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

  /** Kills amid a backup, and waits until its job has come to an end and clients are served. */
  async function strike({ by, kill }: Victim): Promise<void> {
    const known = new Set((await site.jobs()).map(({ id }) => id))
    kills++
    const moment = random.below(tookMs)
    const command = by === 'command' ? site.begin(['backup', 'create']) : undefined
    if (!command) expect((await site.ask('POST', '', { type: 'full' })).status).toBe(202)
    await delay(moment) // no condition: any moment of it
    await kill(site, random)
    await command?.ended
    await site.load.succeeds(20)
    for (const { id } of (await site.jobs()).filter(({ id }) => !known.has(id))) {
      const { status, error } = await site.ended(id)
      if (status === 'completed') {
        fates.completed++
        await site.succeeds(['backup', 'verify', id])
      } else {
        fates.failed++
        expect([status, error]).toEqual(['failed', expect.any(String)])
      }
    }
  }

  async function expectNothingLeft(): Promise<void> {
    const completed = (await site.jobs()).filter(({ status }) => status === 'completed').map(({ id }) => id)
    expect(await site.listed()).toEqual(completed)
    const entries = await readdir(join(site.dataDir, 'backups'), { recursive: true })
    const folders = entries.filter((path) => !path.includes('/') && !path.endsWith('.json'))
    expect(folders.filter((name) => !name.includes(UNFINISHED)).sort()).toEqual(completed.sort())
    // What was looked whether it can be written, at the very moment, is of no weight.
    expect(entries.filter((path) => path.includes(UNFINISHED) && !path.startsWith('check'))).toEqual([])
    expect((await readdir(site.dataDir)).filter((name) => name.startsWith('.scratch'))).toEqual([])
    const left = await site.sql(
      (sql) =>
        sql`select name from storage.backup_holds union all select slot_name::text from pg_replication_slots`,
    )
    expect(left).toHaveLength(0)
  }
})
