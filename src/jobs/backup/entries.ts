import { z } from 'zod'
import { UUID } from '../../lib/uuid.ts'
import { BackupError } from './backup-error.ts'
import { jsonAs } from './json-as.ts'
import { LineWriter, readLines } from './lines.ts'
import type { BackupTarget, WrittenFile } from './target.ts'

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const size = z.number().int().nonnegative()
const uuid = z.string().regex(UUID)

const fileEntry = z.object({
  /** From the folder of the backup on. */
  path: z.string(),
  size,
  sha256,
  /** The backup of this target in whose folder it lies, when not this one. */
  in: uuid.optional(),
})

const bytesEntry = z.object({
  version: uuid,
  /** The bucket's part of the location of the bytes, which is not its id. */
  bucket: uuid,
  size,
  sha256,
  /** The backup of this target that has the bytes, when not this one. */
  in: uuid.optional(),
  /** Whether they are a line of that backup's rows/inline_bytes.ndjson; else a file by their hash. */
  inline: z.literal(true).optional(),
})

/** A file of a backup, but bytes of versions and the manifest. A line of `files.ndjson`, which is sorted by path. */
export type FileEntry = z.infer<typeof fileEntry>

/** The bytes of a version. A line of `bytes.ndjson`, which is sorted by version. */
export type BytesEntry = z.infer<typeof bytesEntry>

export const FILES = 'files.ndjson'
export const BYTES = 'bytes.ndjson'
export const INLINE_BYTES = 'rows/inline_bytes.ndjson'

/** Where bytes with this hash are, from the folder of the backup on. */
export function bytesPath(sha256: string): string {
  return `bytes/${sha256.slice(0, 2)}/${sha256}`
}

/** More than an entry can have, in bytes. */
const MAX_ENTRY = 8 * 1024

/** Writes `files.ndjson` or `bytes.ndjson` of a backup while the entries come, in their order. Ends with `end` or `abort`. */
export class EntryWriter<T extends FileEntry | BytesEntry> {
  readonly #lines: LineWriter
  #last = ''

  /** @param path from the target on, such as `<id>/files.ndjson` */
  constructor(target: BackupTarget, path: string) {
    this.#lines = new LineWriter(target, path)
  }

  /** See `LineWriter`. */
  add(entry: T): Promise<void> | undefined {
    const key = keyOf(entry)
    if (key <= this.#last) throw new Error(`${this.#lines.path}: ${key} comes after ${this.#last}`)
    this.#last = key
    return this.#lines.add(JSON.stringify(entry))
  }

  /** @throws as `write` of the target does */
  end(): Promise<WrittenFile & { lines: number }> {
    return this.#lines.end()
  }

  abort(): Promise<void> {
    return this.#lines.abort()
  }
}

/** @param id of a backup @throws MissingBackupFile, DamagedBackup, TargetUnavailable */
export function readFileEntries(target: BackupTarget, id: string): AsyncGenerator<FileEntry> {
  return readEntries(target, `${id}/${FILES}`, fileEntry)
}

/** @param id of a backup @throws MissingBackupFile, DamagedBackup, TargetUnavailable */
export function readBytesEntries(target: BackupTarget, id: string): AsyncGenerator<BytesEntry> {
  return readEntries(target, `${id}/${BYTES}`, bytesEntry)
}

async function* readEntries<T extends FileEntry | BytesEntry>(
  target: BackupTarget,
  path: string,
  schema: z.ZodType<T>,
): AsyncGenerator<T> {
  let last = ''
  let number = 0
  for await (const line of readLines(await target.read(path), path, MAX_ENTRY)) {
    number++
    const entry = jsonAs(line, schema)
    const reason = entry === null ? 'is not an entry' : keyOf(entry) <= last ? 'is not in its order' : null
    if (entry === null || reason !== null) {
      throw new BackupError('DamagedBackup', `Line ${number} of ${path} in ${target.name} ${reason}`)
    }
    last = keyOf(entry)
    yield entry
  }
}

/** By what entries are sorted, as `<` compares texts. */
function keyOf(entry: FileEntry | BytesEntry): string {
  return 'version' in entry ? entry.version : entry.path
}

/** What two sorted lists have under a version: at least one of the two. */
export interface Merged<A, B> {
  version: string
  a: A | undefined
  b: B | undefined
}

/** Two lists as one, in the memory of one entry each. Both are sorted by version, and have each once. */
export async function* mergeByVersion<A extends { version: string }, B extends { version: string }>(
  sortedA: AsyncIterable<A>,
  sortedB: AsyncIterable<B>,
): AsyncGenerator<Merged<A, B>> {
  const listA = sortedA[Symbol.asyncIterator]()
  const listB = sortedB[Symbol.asyncIterator]()
  try {
    let a = await nextOf(listA)
    let b = await nextOf(listB)
    while (a ?? b) {
      const version = !b || (a && a.version < b.version) ? a?.version : b.version
      if (version === undefined) return // never: one of the two is there
      const fromA = a?.version === version ? a : undefined
      const fromB = b?.version === version ? b : undefined
      yield { version, a: fromA, b: fromB }
      if (fromA) a = await nextOf(listA)
      if (fromB) b = await nextOf(listB)
    }
  } finally {
    // A reader that has enough, or one list that breaks, lets go of both.
    await Promise.all([listA.return?.(), listB.return?.()])
  }
}

async function nextOf<T>(list: AsyncIterator<T>): Promise<T | undefined> {
  const { done, value } = await list.next()
  return done ? undefined : value
}
