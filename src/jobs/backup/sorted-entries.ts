import type { BytesEntry } from './entries.ts'
import { ScratchLines } from './scratch-lines.ts'

/** So many are sorted in memory, where each takes some 500 bytes. */
const RUN = 50_000

/**
 * Entries in the order of their versions, each version once. What is more than a run goes by files without a name, so that memory
 * does not grow with their number.
 *
 * @param folder where there is room for them
 */
export async function* sortedByVersion(
  entries: AsyncIterable<BytesEntry>,
  folder: string,
  run = RUN,
): AsyncGenerator<BytesEntry> {
  const files: ScratchLines<BytesEntry>[] = []
  try {
    let gathered: BytesEntry[] = []
    for await (const entry of entries) {
      if (gathered.push(entry) < run) continue
      const file = await ScratchLines.open<BytesEntry>(folder)
      files.push(file)
      for (const one of gathered.sort(byVersion)) await file.add(one)
      gathered = []
    }
    let last = ''
    for await (const entry of merged([gathered.sort(byVersion), ...files.map((file) => file.read())])) {
      if (entry.version !== last) yield entry
      last = entry.version
    }
  } finally {
    for (const file of files) await file.close()
  }
}

/** Sorted lists as one. */
async function* merged(
  lists: (Iterable<BytesEntry> | AsyncIterable<BytesEntry>)[],
): AsyncGenerator<BytesEntry> {
  const heads: { entry: BytesEntry; rest: AsyncIterator<BytesEntry> }[] = []
  const readers = lists.map(each)
  try {
    for (const rest of readers) {
      const { done, value } = await rest.next()
      if (!done) heads.push({ entry: value, rest })
    }
    for (let first = least(heads); first !== undefined; first = least(heads)) {
      yield first.entry
      const { done, value } = await first.rest.next()
      if (done) heads.splice(heads.indexOf(first), 1)
      else first.entry = value
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.return(undefined)))
  }
}

async function* each<T>(list: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T, undefined> {
  yield* list
}

function least<T extends { entry: BytesEntry }>(heads: T[]): T | undefined {
  return heads.reduce<T | undefined>(
    (least, head) => (least && least.entry.version <= head.entry.version ? least : head),
    undefined,
  )
}

function byVersion(a: BytesEntry, b: BytesEntry): number {
  return a.version < b.version ? -1 : a.version > b.version ? 1 : 0
}
