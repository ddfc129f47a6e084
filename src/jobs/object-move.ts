import { addAbortSignal, Readable } from 'node:stream'
import type { Logger } from 'pino'
import type { Backend } from '../backend/backend.ts'
import type { Database } from '../database/connection/client.ts'
import { namedVersions } from '../database/queries/backend-moves.ts'
import {
  findObjectToCheck,
  type ObjectToCheck,
  releaseMissing,
  setQuarantine,
} from '../database/queries/objects-to-check.ts'
import { StorageError } from '../model/errors.ts'
import { isInline } from '../model/location.ts'
import { compareWith, type ExpectedBytes, expectedBytes } from '../storage/reading/expected-bytes.ts'
import { verifiedStream } from '../storage/reading/verified-stream.ts'

export interface ObjectMoveOptions {
  database: Database
  source: Backend
  target: Backend
  /** Whether servers read the target: then what is there is not missing. */
  isTargetRead?: boolean
  logger: Logger
}

/**
 * What has become of one object: its bytes were copied; they were in the target before; the object was deleted
 * meanwhile; it is replaced again and again; the move was interrupted; or they could not be copied.
 */
export type Outcome = 'copied' | 'there' | 'gone' | 'replaced' | 'interrupted' | { why: string }

/** So many versions of one object are tried, each replaced while it is on its way. */
const MOST_VERSIONS = 5

/** So many bytes are read and written as one buffer: cheaper than a stream for either backend. */
const SMALL_OBJECT = 256 * 1024

/**
 * Copies the bytes of one object from one backend to another, under the same location.
 *
 * What is in the target with the row's size is whole, and taken for done without reading it, also after a crash, for
 * two reasons. The bytes are compared with the row's SHA-256, or those of its parts, before the last of them goes to the target, and a body
 * that breaks leaves nothing there. And they are written as those of a version that rows name (`isNamed`), so that
 * nothing is at their location before all of it is durable: a process that was killed, or a power failure, leaves
 * nothing there, or everything.
 */
export class ObjectMove {
  constructor(private readonly options: ObjectMoveOptions) {}

  /**
   * Takes the mark of a missing object away once servers find its bytes in the target.
   *
   * @param onBytes hears of a large object's bytes as they pass
   * @returns the object as it was when that became of it
   * @throws BackendUnavailable, StorageFull when it is not this object but a whole backend that fails;
   *   DatabaseUnavailable
   */
  async move(
    seen: ObjectToCheck,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ): Promise<{ outcome: Outcome; object: ObjectToCheck }> {
    let object = seen
    for (let versions = 0; versions < MOST_VERSIONS; versions++) {
      const outcome = await this.#moveVersion(object, signal, onBytes)
      if (outcome !== 'gone') return { outcome, object }
      // Its newest version may be in the target already, where running servers write: nothing is left to copy then.
      const now = await findObjectToCheck(this.options.database, object)
      if (now === null || isInline(now.location)) return { outcome, object }
      object = now
    }
    return { outcome: 'replaced', object }
  }

  async #moveVersion(
    object: ObjectToCheck,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ): Promise<Outcome> {
    const { database, isTargetRead, logger } = this.options
    const outcome = await this.#copyUnlessThere(object, signal, onBytes)
    const isThere = outcome === 'copied' || outcome === 'there'
    if (!isThere || !isTargetRead || object.quarantineReason !== 'missing') return outcome
    const { bucketId, name, location } = object
    if (await releaseMissing(database, object)) {
      const about = { bucket: bucketId, path: name, version: location.version }
      logger.warn(
        about,
        'the move found the bytes of an object that was marked as missing; its mark was taken away',
      )
    }
    return outcome
  }

  async #copyUnlessThere(
    object: ObjectToCheck,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ): Promise<Outcome> {
    const { source, target } = this.options
    try {
      const there = await target.size(object.location)
      const size = object.size ?? (await source.size(object.location)) ?? there
      if (size === null) return await this.#withoutBytes(object, size)
      if (there === size) return 'there'
      await this.#copy({ ...object, size }, there !== null, signal, onBytes)
      return 'copied'
    } catch (error) {
      if (signal.aborted) return 'interrupted'
      const code = error instanceof StorageError ? error.code : null
      if (code === 'CorruptedBytes') return this.#damaged(object)
      if (code === 'MissingBytes') return this.#withoutBytes(object, object.size)
      if (code === 'StorageFull' || code?.startsWith('Database')) throw error
      // Is it this object, or a whole backend?
      await checkReadable(source)
      await target.check()
      const { bucketId, name, location } = object
      this.options.logger.error(
        { bucket: bucketId, path: name, version: location.version, err: error },
        'the bytes of an object could not be moved',
      )
      if (error instanceof StorageError) return { why: error.explanation }
      return { why: error instanceof Error ? error.message : String(error) }
    }
  }

  async #copy(
    object: ObjectToCheck & { size: number },
    hasOther: boolean,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    const { target } = this.options
    const { location, size, checksum } = object
    const { version } = location
    const expected = await expectedBytes(this.options.database, { checksum, version })
    const body = await this.#open(object, expected, signal, onBytes)
    try {
      // Of another size: nobody reads it, and a version is written only once.
      if (hasOther) await target.remove(location)
      const written = await target.write(location, body, {
        maxBytes: size,
        isNamed: true,
        ...(checksum !== null && { sha256: checksum }),
      })
      if (written.size === size && (checksum === null || written.sha256 === checksum)) return
      await target.remove(location)
      throw new Error('What was written is not what was read')
    } finally {
      if (body instanceof Readable) body.destroy()
    }
  }

  /** The bytes, which break with CorruptedBytes before their end if they are not the row's. */
  async #open(
    { location, size }: ObjectToCheck & { size: number },
    expected: ExpectedBytes | null,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ): Promise<Readable | Uint8Array> {
    const { source } = this.options
    if (size <= SMALL_OBJECT) {
      const bytes = await source.readWhole(location, size)
      const comparison = expected === null ? null : compareWith(expected)
      comparison?.update(bytes)
      if (!comparison || comparison.holds()) return bytes
      throw new StorageError('CorruptedBytes')
    }
    const stream = await source.read(location, { size })
    const body =
      expected === null ? stream : verifiedStream(stream, expected, () => new StorageError('CorruptedBytes'))
    if (body !== stream) stream.on('data', (chunk: Uint8Array) => onBytes(chunk.length))
    body.on('error', () => {}) // it may break before the target listens, which then finds it broken
    return addAbortSignal(signal, body)
  }

  /** When the source has no bytes, or not as many as the row says. */
  async #withoutBytes(object: ObjectToCheck, size: number | null): Promise<Outcome> {
    const { database, source, target } = this.options
    const { location } = object
    const named = await namedVersions(database, [location.version])
    if (!named.has(location.version)) return 'gone'
    const there = await target.size(location)
    if (there !== null && there === (size ?? there)) return 'there'
    // Not marked: from the wrong folder or the wrong bucket, everything would seem to be missing.
    if ((await source.size(location)) === null) return { why: 'there are no bytes of it' }
    return this.#damaged(object)
  }

  async #damaged(object: ObjectToCheck): Promise<Outcome> {
    const { database, logger } = this.options
    const { bucketId, name, location } = object
    const { version } = location
    if (await setQuarantine(database, object, 'corrupted')) {
      const about = { bucket: bucketId, path: name, version }
      logger.error(about, 'the move found damaged bytes; the object was marked and is not served any more')
    } else if (!(await namedVersions(database, [version])).has(version)) {
      return 'gone'
    }
    return { why: 'its bytes are damaged' }
  }
}

/** Not `check`, which writes: one may well move away from a disk that has become read-only. @throws BackendUnavailable */
export async function checkReadable(backend: Backend): Promise<void> {
  for await (const stored of backend.list()) if (stored) return
}
