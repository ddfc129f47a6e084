/** What the two lists are to show (wire §3.12, §3.13), over a plain array of objects. */

export interface ListedFile {
  name: string
  createdAt: Date
  /** Also when it was last accessed. */
  updatedAt: Date
  /** What both times have beyond their milliseconds. */
  micros: number
}

export interface Shown {
  name: string
  isFolder: boolean
  /** What it is sorted by: microseconds, and a full name, a folder's with its slash, in lower case. */
  time: number
  place: string
  /** What breaks a tie of times: the full name of a file as it is, or a folder's place. */
  tie: string
  /** What breaks the last tie: the full name, a folder's with its slash. */
  exact: string
}

/**
 * Wire §3.12: everything ignores case; a folder stands where its name with the slash does. With `exactFolders` case
 * counts for the folder and for those shown (decision 0035).
 */
export function folderModel(
  files: ListedFile[],
  prefix: string,
  search: string,
  column: string,
  order: string,
  exactFolders: boolean,
): Shown[] {
  const folder = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
  const wanted = fold(folder + search)
  const entries = new Map<string, Shown>()
  for (const each of files) {
    if (!fold(each.name).startsWith(wanted)) continue
    if (exactFolders && !each.name.startsWith(folder)) continue
    const slash = each.name.indexOf('/', wanted.lastIndexOf('/') + 1)
    const isFolder = slash >= 0
    const shown = isFolder ? each.name.slice(0, slash) : each.name
    const place = isFolder ? fold(`${shown}/`) : fold(shown)
    const time = isFolder || column === 'name' ? 0 : timeOf(each, column)
    const tie = isFolder ? place : each.name
    const exact = isFolder ? `${shown}/` : shown
    const entry = { name: shown.slice(folder.length), isFolder, time, place, tie, exact }
    entries.set(isFolder && !exactFolders ? place : exact, entry)
  }
  const sign = order === 'desc' ? -1 : 1
  const byName = column === 'name'
  return [...entries.values()].sort(
    (a, b) =>
      (byName ? 0 : Number(b.isFolder) - Number(a.isFolder)) ||
      sign *
        ((byName ? bytewise(a.place, b.place) : a.time - b.time || bytewise(a.tie, b.tie)) ||
          bytewise(a.exact, b.exact)),
  )
}

/** Wire §3.13: case counts; a folder's time is that of its oldest content. */
export function pageModel(
  files: ListedFile[],
  prefix: string,
  delimited: boolean,
  column: string,
  order: string,
): string[] {
  const entries = new Map<string, number>()
  for (const each of files) {
    if (!each.name.startsWith(prefix)) continue
    const slash = delimited ? each.name.indexOf('/', prefix.length) : -1
    const place = slash < 0 ? each.name : each.name.slice(0, slash + 1)
    const time = column === 'name' ? 0 : timeOf(each, slash < 0 ? column : 'created_at')
    entries.set(place, Math.min(time, entries.get(place) ?? time))
  }
  const sign = order === 'desc' ? -1 : 1
  return [...entries]
    .sort(([a, atA], [b, atB]) => sign * (atA - atB || bytewise(a, b)))
    .map(([place]) => place)
}

/** Of S3, after a text: a key that ends with a slash is a marker's name elsewhere (decision 0050), and no row may have it. */
export function keyModel(names: string[], prefix: string, delimiter: string, after: string): string[] {
  const keys = names
    .filter((name) => !name.endsWith('/'))
    .map((name) => name.replace(/(?<=\/)\.emptyFolderPlaceholder$/, ''))
  const shown = keys
    .filter((key) => key.startsWith(prefix))
    .map((key) => {
      const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
      return at < 0 ? key : key.slice(0, at + delimiter.length)
    })
  return [...new Set(shown)].filter((key) => bytewise(key, after) > 0).sort(bytewise)
}

/** In microseconds. Both lists go by whole times, though they show milliseconds (decision 0024). */
function timeOf(each: ListedFile, column: string): number {
  return (column === 'created_at' ? each.createdAt : each.updatedAt).getTime() * 1000 + each.micros
}

function bytewise(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** Lower case, one character for one, as PostgreSQL has it: İ is i. */
export function fold(text: string): string {
  return [...text].map((char) => (char === 'İ' ? 'i' : char.toLowerCase())).join('')
}
