/** What a name has, the newest first: the object that is there, and what was there before it (docs/versions.md). */
export type History = readonly Entry[]

export interface Entry {
  kind: 'object' | 'version' | 'marker' | 'trash'
  /** Null of a marker. */
  sha256: string | null
  /** Its version, once its writer was told. */
  id?: string | undefined
  /** Whether its time is up: it is gone as soon as somebody looks. */
  isDue?: boolean
}

/** What a bucket does with what is overwritten and deleted. */
export interface Keeping {
  way: 'versions' | 'trash'
  /** How many versions a name has, the current one included. */
  most: number
}

export function uploaded(history: History, sha256: string, keeping: Keeping): History {
  const [first, ...others] = history
  const object: Entry = { kind: 'object', sha256 }
  if (keeping.way === 'trash') return first?.kind === 'object' ? [object, ...others] : [object, ...history]
  return [object, ...trimmed(history.map(archived), keeping.most - 1)]
}

/** Without the versions beyond `most`, and, if any goes or there are more markers than that, without those with none behind them. */
function trimmed(history: History, most: number): History {
  let left = most
  const kept = history.filter(({ kind }) => kind === 'marker' || left-- > 0)
  const markers = history.filter(({ kind }) => kind === 'marker')
  if (kept.length === history.length && markers.length <= most) return kept
  return kept.slice(0, kept.findLastIndex(({ kind }) => kind !== 'marker') + 1)
}

/** Of a name that has an object, or where versions are kept. */
export function deleted(history: History, { way }: Keeping): History {
  const [first, ...others] = history
  if (way === 'trash') return first ? [{ ...first, kind: 'trash' }, ...others] : []
  return first?.kind === 'marker' ? history : [{ kind: 'marker', sha256: null }, ...history.map(archived)]
}

/** By its version, for good: the version that is the first then moves up. */
export function removed(history: History, entry: Entry): History {
  const [first, ...others] = history.filter((other) => other !== entry)
  if (first?.kind !== 'version') return first ? [first, ...others] : []
  return [{ ...first, kind: 'object' }, ...others]
}

/** By what takes away what was kept for long enough. */
export function purged(history: History): History {
  return history.filter(({ isDue }) => !isDue)
}

/** Equal for what nobody could tell apart. */
export function told(history: History): string {
  return history.map(({ kind, sha256 }) => `${kind} ${sha256}`).join('\n')
}

function archived(entry: Entry): Entry {
  return entry.kind === 'object' ? { ...entry, kind: 'version' } : entry
}
