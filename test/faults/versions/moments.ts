import { deleted, type Entry, type History, type Keeping, uploaded } from './history.ts'

/** What was there at a moment, of names whose writer has looked back since. */
export interface Moment {
  /** In whole milliseconds: all was over before, and nothing has begun in it. */
  at: string
  /** The object of each name, by its path; of others there was none. */
  objects: ReadonlyMap<string, Entry>
}

/** What `POST /versions/restore` may do with one name, and what the name then has. */
export type Outcomes = Partial<Record<'restored' | 'deleted' | 'unchanged' | 'unavailable', History>>

/** What may become of a name that is to be what it was. Nothing was taken out of its history meanwhile by id. */
export function outcomes(history: History, then: Entry | undefined, keeping: Keeping): Outcomes {
  const [now] = history
  if (then === undefined) {
    if (now?.kind !== 'object') return { unchanged: history, unavailable: history }
    // Versions may have gone by their number, so that nobody knows any more.
    return { deleted: deleted(history, keeping), unavailable: history }
  }
  if (!history.some(({ id }) => id === then.id)) return { unavailable: history }
  if (now?.kind === 'object' && now.sha256 === then.sha256) return { unchanged: history }
  return { restored: uploaded(history, String(then.sha256), keeping) }
}
