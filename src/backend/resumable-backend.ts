import type { Readable } from 'node:stream'
import type { Location } from '../model/location.ts'
import type { Backend, ChunkReader, Written } from './backend.ts'

/**
 * A backend that also takes versions which do not come as one body: in chunks, one after the other, or in parts, in any
 * order. `test/backend/contract-append.ts` and `contract-parts.ts` are the same promises as tests.
 *
 * How far such a version has come is kept by the caller, as `Progress` or as `Part`s: what he has not kept is not there,
 * whatever a crash has left in the backend. A version comes in chunks or in parts, not in both.
 */
export interface ResumableBackend extends Backend {
  /**
   * Adds a chunk to a version that arrives in several, over any time and through any server (wire §5). One
   * `append` at a time for one version: the caller sees to that.
   *
   * Goes on at `from`, and forgets what is stored beyond it. Nothing of `from` is destroyed: after a failure, or when
   * the caller does not want the chunk, the next chunk may begin at `from` again, or at what `onProgress` was told
   * since.
   *
   * What has come of a body that breaks, or that the signal cuts off, is kept; on a full disk, what has found room.
   * `body` is then read no further and left open, as after a failure of `write`. Streams: memory use does not depend on
   * the length.
   *
   * @returns how far the version has come, durably
   * @throws EntityTooLarge when `body` has more than `maxBytes` bytes
   * @throws MissingBytes when the bytes before `from` are not here, such as those in another backend; nothing has been
   *   read of `body` then
   * @throws StorageFull, BackendUnavailable, and what `onProgress` has thrown
   */
  append(at: Location, from: Progress, body: Readable, options: AppendOptions): Promise<Appended>

  /**
   * Makes of the chunks what `write` would have made of the whole: all of it is at `at`, and durable. Doing it again
   * is a success.
   *
   * @throws MissingBytes when they are not here, or not `progress.offset` bytes
   * @throws StorageFull, BackendUnavailable
   */
  complete(at: Location, progress: Progress): Promise<void>

  /**
   * Frees what `from` has and `to` has not: the caller did not want those chunks, and goes on at `to`, which stays as it
   * is. Only for the one who may `append`. Doing nothing is a success, since the next chunk forgets them anyway; but a
   * store in which each chunk leaves something else would fill.
   *
   * @throws BackendUnavailable
   */
  goBack(at: Location, steps: { from: Progress; to: Progress }): Promise<void>

  /**
   * Whether a part of so many bytes is better stored with a claim of its number (`PartOptions.claim`): making the version
   * is quicker then. Nothing else changes without.
   */
  wantsClaim(size: number): boolean

  /**
   * Stores one part of a version that comes in parts, and resolves once it would survive a power failure. Any number of
   * parts may come at a time, in any order, through any server, each of any length; the same number several times as
   * well: each time it is another part, and the caller decides which of them he keeps.
   *
   * All or nothing, and read of `body` as `write` does. Nothing of the other parts is touched.
   *
   * @param number from 1 to `MAX_PART_NUMBER`
   * @returns what the caller keeps of it
   * @throws EntityTooLarge when `body` has more than `size` bytes
   * @throws BackendUnavailable, also when the bytes have gone on as they came, and only their client can bring them again
   * @throws StorageFull, the stream's own error
   */
  writePart(at: Location, number: number, body: Readable | Uint8Array, options: PartOptions): Promise<Part>

  /**
   * Frees a part that the caller does not want, such as one that another has replaced. Removing none is a success.
   *
   * @throws BackendUnavailable
   */
  removePart(at: Location, part: Part): Promise<void>

  /**
   * Makes of these parts, in this order, what `write` would have made of the whole: all of it is at `at`, and durable.
   * Then frees all parts of the version, those too that are not among them. Until then they all stay, so that after a
   * failure or a crash, when nobody knows whether it has been done, it can be done again: with the same parts only, which
   * is a success. For others the version has to be discarded. Memory use does not depend on the length.
   *
   * One `assemble` at a time for one version, and no `writePart` beside it: the caller sees to that.
   *
   * @param parts at least one
   * @throws MissingBytes when a part is not here
   * @throws InvalidPart when parts that were stored with a claim are left out, and the store cannot do that
   * @throws StorageFull, BackendUnavailable
   */
  assemble(at: Location, parts: Part[]): Promise<void>

  /**
   * Removes what there is of a version that comes in chunks or in parts. Removing none is a success.
   *
   * @throws BackendUnavailable
   */
  discard(at: Location): Promise<void>
}

/** How far a version has come that arrives in chunks. Kept by the caller from one chunk to the next. */
export interface Progress {
  /** So many bytes are here, and would survive a power failure. */
  offset: number
  /** What the backend notes for itself, a few hundred characters at most; null before the first chunk. */
  notes: string | null
}

/** Before the first chunk. */
export const NOTHING_YET: Progress = { offset: 0, notes: null }

export interface AppendOptions extends ChunkReader {
  /** Largest length of this chunk, in bytes. */
  maxBytes: number
  /** Length of the whole version, in bytes, or null while nobody knows it: with the chunk that reaches it all is here. */
  size: number | null
  /** Ends the chunk where it is. */
  signal: AbortSignal
  /** Sees the bytes as they arrive, in order. */
  tap(bytes: Uint8Array): void
  /** Is told now and then, while a long chunk arrives, how far the version has come; one call at a time. */
  onProgress(progress: Progress): Promise<void>
}

export interface Appended {
  progress: Progress
  /** Why the chunk ended before its end; null when all of it has come. */
  cut: Error | null
}

/** As of a multipart upload of S3 (wire §6). */
export const MAX_PART_NUMBER = 10_000

export interface PartOptions extends ChunkReader {
  /** Length of this part, in bytes. Whoever gives a body of fewer sees to it that it breaks. */
  size: number
  /** The MD5 of the bytes in hexadecimal digits, once all have been read, for a store that tells its own; if anybody computes it. */
  md5?(): Promise<string>
  /**
   * Only for a version that will be made of parts by rising numbers, each but the last of 5 MiB at least. Parts without a
   * claim may be among them.
   */
  claim?: NumberClaim | undefined
}

/**
 * That a number of a version is one part's alone: the caller sees to it that no other part has it, through whichever
 * server it comes. One that the backend has used is nobody's after that, whatever has become of its part; one that it has
 * not may be given to another part of that number.
 */
export interface NumberClaim {
  /** What was noted for all parts of the version when the claim was made; null for nothing. */
  readonly notes: string | null
  /**
   * Notes something for all parts of the version, a few hundred characters at most, unless that was done before.
   *
   * @returns what is noted, durably, from here on until the version is made or discarded
   * @throws NoSuchUpload when it is already, or will never be made
   */
  note(notes: string): Promise<string>
  /** Says that the number is used from here on. */
  use(): void
}

/** A part that is here. Kept by the caller until it is assembled or removed. */
export interface Part extends Written {
  /** From 1 to `MAX_PART_NUMBER`. */
  number: number
  /** What the backend notes for itself, a few hundred characters at most. */
  notes: string
}

/** @throws when there is none; that is the caller's mistake */
export function firstOf(parts: Part[]): Part {
  const [first] = parts
  if (!first) throw new Error('A version is made of one part at least')
  return first
}

export function checkPartNumber(number: number): void {
  if (Number.isInteger(number) && number >= 1 && number <= MAX_PART_NUMBER) return
  throw new Error(`Not the number of a part: ${number}`)
}
