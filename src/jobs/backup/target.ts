import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'

/** What was written: of the bytes that were given, before any encryption. */
export interface WrittenFile {
  /** In bytes. */
  size: number
  /** 64 lower-case hexadecimal digits. */
  sha256: string
}

export interface ListedFile {
  path: string
  /** As it is stored, in bytes: what is encrypted is a little longer. */
  size: number
  modifiedAt: Date
}

/**
 * Where backups lie: a folder, or a prefix in an S3 bucket. Decision 0059 draws what is in it.
 *
 * A path is made of names with slashes between them, see `checkPath`; what a user has named never becomes one. A prefix is
 * such a path with a slash at its end, or empty, and means everything below.
 *
 * All of it throws TargetUnavailable when the place cannot be read or written now.
 */
export interface BackupTarget {
  /** What the operator calls it: a path or an s3:// URL. */
  readonly name: string

  /**
   * Writes a file, in the place of one that is there. Resolves once it would survive a crash. All or nothing: after a failure
   * there is what was there before.
   *
   * @throws StorageFull; the stream's own error
   */
  write(path: string, body: Readable | Uint8Array): Promise<WrittenFile>

  /**
   * Makes the file at `source`, which never changes again, the one at `path` without reading it; what is at `path` stays.
   * The caller has compared its content, or does so now. Durable after the next `flush`.
   *
   * @returns whether it was made, or there before; null when this target cannot: it is to be written then
   */
  link?(path: string, source: string): Promise<'made' | 'there' | null>

  /** Resolves once all that was linked before would survive a crash; `writeManifest` sees to it. */
  flush?(): Promise<void>

  /** The stream must be consumed or destroyed. @throws MissingBackupFile; WrongKey and DamagedBackup, by the stream too */
  read(path: string): Promise<Readable>

  /** Its size as it is stored, in bytes; null when there is none. */
  exists(path: string): Promise<number | null>

  /** Files below the prefix, in no order, a page at a time in memory. */
  list(prefix: string): AsyncIterable<ListedFile>

  /** The names of what lies below the target itself, in which a slash follows: of the backups, and of the log. */
  folders(): Promise<string[]>

  /**
   * The same of what killed writes have left, where `folders` does not show that. Only who may write is sure to be let see it.
   */
  unfinishedFolders?(): Promise<string[]>

  /** Removing nothing is a success. */
  remove(path: string): Promise<void>

  /** Everything below a prefix, with what killed writes have left there. The empty one is refused. */
  removeAll(prefix: string): Promise<void>

  /** What killed writes have left below a prefix, in which nobody may be writing. */
  removeUnfinished(prefix: string): Promise<void>

  /** Whether it can be written now. @throws StorageFull, TargetUnavailable */
  check(): Promise<void>

  close(): Promise<void>
}

/** A target itself, as it is before anything is known of it. */
export interface TargetPlace extends BackupTarget {
  /** Whether nothing at all is there, of ours or of anybody. A place that is missing is empty. */
  isEmpty(): Promise<boolean>
}

/** One name in a path. */
const NAME = /^[\w+-][\w.+-]{0,199}$/

/** What the name of a file ends with until it is whole; a few random digits follow. */
export const UNFINISHED = '.new-'

/** A file's name while it is written. */
export function unfinishedName(path: string): string {
  return `${path}${UNFINISHED}${randomBytes(8).toString('hex')}`
}

/**
 * Paths are ours or PostgreSQL's, so that anything else is a mistake: each name has only letters, digits, and `_ . + -`, and
 * does not begin with a dot.
 *
 * @throws for any other path
 */
export function checkPath(path: string): void {
  const isOurs = path.split('/').every((name) => NAME.test(name) && !name.includes(UNFINISHED))
  if (!isOurs || path.length > 900) throw new Error(`Not a path in a backup: ${JSON.stringify(path)}`)
}

/** @throws for what is not a prefix */
export function checkPrefix(prefix: string): void {
  if (prefix === '') return
  if (!prefix.endsWith('/')) throw new Error(`Not a prefix in a backup: ${JSON.stringify(prefix)}`)
  checkPath(prefix.slice(0, -1))
}
