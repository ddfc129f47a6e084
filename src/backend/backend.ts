import type { Readable } from 'node:stream'
import type { ByteRange, Location } from '../model/location.ts'

/**
 * Where bytes live. Another backend could be written from this file alone; `test/backend/contract.ts`
 * is the same promises as tests, and runs against every backend. What the server needs beyond it, to take uploads that
 * can be resumed, is in `resumable-backend.ts`.
 *
 * Bytes are immutable: a version is written once, read many times, and removed. Nobody but the writer
 * knows a version before its row is committed, so a half-written one is never seen by a reader. The exception
 * is a version that comes from another backend: see `isNamed`.
 */
export interface Backend {
  /** Whether a small body may be written while a database transaction is open (design §3): none that is far away. */
  readonly isLocal: boolean

  /**
   * Stores `body` at `at` and resolves once the bytes would survive a power failure.
   *
   * All or nothing: a body that breaks, or passes `maxBytes`, leaves nothing at `at`. After a
   * failure `body` is read no further and left open, for its giver to dispose of: it may be the socket on
   * which the client is to hear of the failure. Streams: memory use does not depend on the length.
   *
   * @returns length in bytes, and the SHA-256 as 64 lower-case hexadecimal digits
   * @throws EntityTooLarge when `body` has more than `maxBytes` bytes
   * @throws StorageFull when the store has no space left
   * @throws BackendUnavailable when the store cannot be reached or written
   * @throws the stream's own error when `body` breaks
   */
  write(at: Location, body: Readable | Uint8Array, options: WriteOptions): Promise<Written>

  /**
   * Opens the bytes for reading. Resolves once they are known to exist, so that a response can still
   * become a 404. The stream must be consumed or destroyed; destroying it frees all it holds.
   *
   * @throws MissingBytes when nothing is stored at `at`, or not `size` bytes
   * @throws BackendUnavailable
   */
  read(at: Location, options?: ReadOptions): Promise<Readable>

  /**
   * Reads a whole small object into memory.
   *
   * @param size its length in bytes, as the row has it
   * @throws MissingBytes when nothing is stored at `at`, or not exactly `size` bytes
   * @throws BackendUnavailable
   */
  readWhole(at: Location, size: number): Promise<Uint8Array<ArrayBuffer>>

  /**
   * An address at which anyone can fetch the bytes past this server, for a minute; null when the backend does not
   * offer that for an object of this size.
   *
   * @param size its length in bytes, as the row has it
   * @param headers that come with the bytes
   * @throws MissingBytes when nothing is stored at `at`, or not `size` bytes
   * @throws BackendUnavailable
   */
  directUrl(at: Location, size: number, headers: ResponseHeaders): Promise<URL | null>

  /**
   * A file on this machine that has exactly the bytes at `at`, so that a backup can link it; null when there is none, as for
   * what lies in a store or in several files. Nobody may write to it.
   *
   * @throws BackendUnavailable
   */
  file(at: Location): Promise<FileOnDisk | null>

  /**
   * Gives `to` its own copy of the bytes at `from`, sharing storage where the store can, durable before
   * it resolves. Removing either leaves the other. All or nothing.
   *
   * @throws MissingBytes when nothing is stored at `from`
   * @throws StorageFull, BackendUnavailable
   */
  copy(from: Location, to: Location): Promise<void>

  /** Removes what is at `at`. Removing nothing is a success. @throws BackendUnavailable */
  remove(at: Location): Promise<void>

  /** Length in bytes, or null when nothing is stored at `at`. @throws BackendUnavailable */
  size(at: Location): Promise<number | null>

  /** Whether anything is stored at `at`. @throws BackendUnavailable */
  exists(at: Location): Promise<boolean>

  /**
   * Everything stored, in no order, for the cleanup. Holds a bounded number of names in memory, and
   * tolerates entries that appear or vanish meanwhile. Skips what the backend did not write.
   *
   * @param bucket only what is under this bucket's UUID
   * @throws BackendUnavailable
   */
  list(bucket?: string): AsyncIterable<Stored>

  /**
   * Writes that have begun and did not come to an end, of this process and of dead ones, for the cleanup; those of
   * checks, too. Nothing that `list` names. A backend whose writes are listed from their first byte has none of versions.
   *
   * @throws BackendUnavailable
   */
  unfinished(): AsyncIterable<Unfinished>

  /** Frees what an unfinished write holds, and makes it fail. Abandoning none is a success. @throws BackendUnavailable */
  abandon(write: Unfinished): Promise<void>

  /**
   * Removes what a bucket that is no more has left beside bytes, such as empty folders. Bytes stay.
   *
   * @returns whether nothing of the bucket is left
   * @throws BackendUnavailable
   */
  removeFolders(bucket: string): Promise<boolean>

  /**
   * Resolves when the store can be read and written now. What it writes for that is gone then, or, of a process that was
   * killed, in `unfinished`.
   *
   * @throws BackendUnavailable with the reason
   */
  check(): Promise<void>

  /** Frees what the backend holds. */
  close(): Promise<void>
}

export interface FileOnDisk {
  path: string
  /** In bytes. */
  size: number
}

/** Who gives a backend a stream may have use for the memory of its chunks. */
export interface ChunkReader {
  /**
   * Is given chunks of the stream, in its order, that the backend needs no more, and may free them or write over them.
   * A backend that needs them for longer, or does not notice, gives none back.
   */
  giveBack?: ((chunks: Uint8Array[]) => void) | undefined
}

export interface WriteOptions extends ChunkReader {
  /** Largest length accepted, in bytes. */
  maxBytes: number
  /**
   * The body's SHA-256, if the caller knows it already. Spares computing that of a `Uint8Array` twice; and a store
   * that keeps hashes may have to be told before the bytes. What `write` returns for a stream was computed by it.
   */
  sha256?: string
  /**
   * Whether a row names `at` already, so that it has readers: until all the bytes are there and durable, nothing is
   * at `at`, after a crash either. Without it nobody knows the version, and a part of it may be met there.
   */
  isNamed?: boolean
}

export interface Written {
  /** In bytes. */
  size: number
  /** SHA-256, 64 lower-case hexadecimal digits. */
  sha256: string
}

export interface ReadOptions {
  /** Only these bytes. */
  range?: ByteRange
  /** The whole length in bytes, as the row has it: bytes of another length are not those meant. */
  size?: number
}

/** What a client is told about the bytes with which it is answered, in the words of HTTP. */
export interface ResponseHeaders {
  'Content-Type': string
  'Content-Disposition'?: string
  'Content-Encoding'?: string
  'Cache-Control'?: string
  /** An HTTP date (RFC 9110 §5.6.7). */
  Expires?: string
}

export interface Stored {
  location: Location
  /** In bytes. */
  size: number
  /** When the bytes were written, or their writing began. */
  modifiedAt: Date
}

export type Unfinished = UnfinishedWrite | UnfinishedCheck

export interface UnfinishedWrite {
  location: Location
  /** The backend's own name for it: one version can have several. */
  id: string
  /** Whether it is a part, of which the version is made at the end of its upload, and not the version itself. */
  isPart: boolean
  startedAt: Date
}

/** Of a check, which belongs to no bucket: any server that shares the store may have begun it. */
export interface UnfinishedCheck {
  location: null
  /** The backend's own name for it. */
  id: string
  startedAt: Date
}
