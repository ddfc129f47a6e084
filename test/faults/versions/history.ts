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
  /** How many former versions of a name a lifecycle rule leaves, with the markers among them; without it there is no rule. */
  newest?: number
  /** Whether a rule deletes all that is there, and the trash is emptied again and again. */
  isEmptied?: true
}

export function uploaded(history: History, sha256: string, keeping: Keeping): History {
  const [first, ...others] = history
  const object: Entry = { kind: 'object', sha256 }
  if (keeping.way === 'trash') return first?.kind === 'object' ? [object, ...others] : [object, ...history]
  return [object, ...trimmed(history.map(archived), keeping.most - 1)]
}

/** Of a name that has an object, or where versions are kept. */
export function deleted(history: History, { way }: Keeping): History {
  const [first, ...others] = history
  if (way === 'trash') return first ? [{ ...first, kind: 'trash' }, ...others] : []
  return first?.kind === 'marker' ? history : [{ kind: 'marker', sha256: null }, ...history.map(archived)]
}

/** Of a name that has an object, for good. */
export function erased([, ...others]: History, { way }: Keeping): History {
  return way === 'trash' ? others : []
}

/** By its version, for good: the version that is the first then moves up. */
export function removed(history: History, entry: Entry): History {
  const [first, ...others] = history.filter((other) => other !== entry)
  if (first?.kind !== 'version') return first ? [first, ...others] : []
  return [{ ...first, kind: 'object' }, ...others]
}

/** Out of the trash, over what is there. */
export function takenOut(history: History, entry: Entry): History {
  return [
    { ...entry, kind: 'object' },
    ...history.filter((other) => other !== entry && other.kind !== 'object'),
  ]
}

/** Once all is gone whose time is up, and what rules are about. */
export function settled(history: History, { newest = Infinity, isEmptied }: Keeping): History {
  if (isEmptied) return []
  let versions = 0
  return history
    .filter(({ isDue }) => !isDue)
    .filter(({ kind }, at) => at === 0 || (kind === 'version' ? versions++ : versions) < newest)
}

/** Equal for what nobody could tell apart. */
export function told(history: History): string {
  return history.map(({ kind, sha256 }) => `${kind} ${sha256}`).join('\n')
}

function archived(entry: Entry): Entry {
  return entry.kind === 'object' ? { ...entry, kind: 'version' } : entry
}

/** The oldest versions go, and with them, or where there are more markers than that, markers that have none behind them. */
function trimmed(former: History, most: number): History {
  const isMore = (kind: Entry['kind']) => former.filter((entry) => entry.kind === kind).length > most
  if (!isMore('version') && !isMore('marker')) return former
  let left = most
  const kept = former.filter(({ kind }) => kind === 'marker' || left-- > 0)
  const last = kept.map(({ kind }) => kind).lastIndexOf('version')
  return kept.slice(0, last + 1)
}
