import { readdir } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { readConfig } from '../../../src/config/config.ts'
import { openTarget } from '../../../src/jobs/backup/open-target.ts'
import type { Random } from '../random.ts'
import type { BackupSite } from './site.ts'
import type { Victim } from './victims.ts'

/** Kills amid backups, and what became of those. */
export class Strikes {
  #kills = 0
  #completed = 0
  #failed = 0
  /** How long a backup takes here, in milliseconds: a kill comes somewhere within it. */
  #tookMs = 0

  constructor(
    private readonly site: BackupSite,
    private readonly random: Random,
  ) {}

  /** Makes a backup beside clients, to know how long that takes. */
  async measure(): Promise<void> {
    await this.site.underLoad(async () => {
      const begunAt = performance.now()
      await this.site.create()
      this.#tookMs = performance.now() - begunAt
    })
  }

  /** Kills amid a backup, and waits until its job has come to an end and clients are served. */
  async strike({ by, kill }: Victim): Promise<void> {
    const { site, random } = this
    const known = new Set((await site.jobs()).map(({ id }) => id))
    this.#kills++
    const moment = random.below(this.#tookMs)
    const command = by === 'command' ? site.begin(['backup', 'create']) : undefined
    const asked = command ? undefined : await site.ask('POST', '', { type: 'full' })
    if (asked) expect(asked.status).toBe(202)
    await delay(moment) // no condition: any moment of it
    await kill(site, random, asked?.job.id ?? '')
    await command?.ended
    await site.load.succeeds(20)
    for (const { id } of (await site.jobs()).filter(({ id }) => !known.has(id))) {
      const { status, error } = await site.ended(id)
      if (status === 'completed') {
        this.#completed++
        await site.succeeds(['backup', 'verify', id])
      } else {
        this.#failed++
        expect([status, error]).toEqual(['failed', expect.any(String)])
      }
    }
  }

  /** Nothing is in the target but whole backups, and nothing is held any more; once a backup has been made after the kills. */
  async expectNothingLeft(): Promise<void> {
    const { site } = this
    const completed = (await site.jobs()).filter(({ status }) => status === 'completed').map(({ id }) => id)
    expect(await site.listed()).toEqual(completed)
    const target = await openTarget(site.target, readConfig(site.servers.env))
    expect((await target.folders()).sort()).toEqual(completed.sort())
    await target.close()
    expect((await readdir(site.dataDir)).filter((name) => name.startsWith('.scratch'))).toEqual([])
    const left = await site.sql(
      (sql) => sql`
        select name from storage.backup_holds
        union all select slot_name::text from pg_replication_slots`,
    )
    expect(left).toHaveLength(0)
  }

  toString(): string {
    return `${this.#kills} kills, ${this.#failed} backups failed, ${this.#completed} were whole`
  }
}
