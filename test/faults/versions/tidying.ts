import { setTimeout as delay } from 'node:timers/promises'
import type { Keeping } from './history.ts'
import { demand, type Place } from './requests.ts'

const PAUSE_MS = 50

/** Runs lifecycle policies and empties the trash, by the server's own hands, so that whoever kills it kills amid that. */
export class Tidying {
  private constructor(
    private readonly place: () => Place,
    private readonly policies: string[],
    private readonly emptied: string[],
  ) {}

  /** Makes the policies of what a rule is for. */
  static async begin(place: () => Place, keeping: ReadonlyMap<string, Keeping>): Promise<Tidying> {
    const emptied = [...keeping].flatMap(([bucket, { isEmptied }]) => (isEmptied ? [bucket] : []))
    const policies: string[] = []
    const make = async (bucket: string, ...rules: object[]) => {
      const policy = { name: 'tidy', bucket, rules }
      policies.push(((await demand(place(), 'POST', '/lifecycle', policy)) as { id: string }).id)
    }
    for (const [bucket, { newest }] of keeping) {
      if (newest === undefined) continue
      await make(bucket, { action: 'delete_old_versions', after_days: 0, keep_versions: newest })
    }
    for (const bucket of emptied) {
      await make(bucket, { action: 'delete', after_days: 0 }, { action: 'purge_trash', after_days: 0 })
    }
    return new Tidying(place, policies, emptied)
  }

  /** Does all of it once. @throws unless all of it is done */
  async tidyUp(): Promise<void> {
    for (const policy of this.policies) {
      const run = await demand(this.place(), 'POST', `/lifecycle/${policy}/run`, {})
      const { complete } = run as { complete: boolean }
      if (!complete) throw new Error(`the run was not complete: ${JSON.stringify(run)}`)
    }
    for (const bucket of this.emptied) await demand(this.place(), 'POST', '/trash/empty', { bucket })
  }

  /** Does it until the signal is aborted, whatever becomes of the server meanwhile. */
  async goOn(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.tidyUp().catch(() => {}) // somebody has killed it, or what it needs
      await delay(PAUSE_MS)
    }
  }
}
