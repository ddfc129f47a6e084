import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Backend, ResponseHeaders } from '../../backend/backend.ts'
import { StorageError } from '../../model/errors.ts'
import type { ByteRange } from '../../model/location.ts'
import type { StoredObject } from '../object/stored-object.ts'
import type { ByteCache } from './byte-cache.ts'
import { verifiedStream } from './verified-stream.ts'

/** What a reader wants of an object, decided once its row is known. */
export interface ReadPlan {
  part: 'nothing' | 'whole' | ByteRange
  /** Present when the reader may as well be sent to an address of the store, which answers with these headers. */
  direct?: ResponseHeaders | undefined
}

/** A small object comes as one buffer. Null when nothing was to be read. */
export type ObjectBytes = Uint8Array<ArrayBuffer> | Readable | URL | null

/** An object of up to this many bytes is read and sent as one buffer: a stream costs six times as much. */
const SMALL_OBJECT = 256 * 1024

export interface Reading {
  cache: ByteCache | undefined
  /** Whether a whole read whose SHA-256 is not the row's must not complete. */
  verify: boolean
  /** Hears of such a read. */
  damaged(): void
}

/**
 * Reads what the plan says.
 *
 * @throws MissingBytes when there are none, or not as many as the row says; CorruptedBytes; BackendUnavailable
 */
export async function readBytes(
  backend: Backend,
  object: StoredObject,
  { part, direct }: ReadPlan,
  { cache, verify, damaged }: Reading,
): Promise<ObjectBytes> {
  if (part === 'nothing') return null
  const { location, size, checksum } = object
  if (location === null || size === null) throw new StorageError('MissingBytes')
  if (object.isCorrupted) throw new StorageError('CorruptedBytes')
  const cached = cache?.get(object)
  if (cached) return part === 'whole' ? cached : cached.subarray(part.start, part.end + 1)
  const url = direct && (await backend.directUrl(location, size, direct))
  if (url) return url
  if (part !== 'whole') return backend.read(location, { range: part, size })
  const expected = verify ? checksum : null
  const corrupted = () => {
    damaged()
    return new StorageError('CorruptedBytes')
  }
  if (size <= SMALL_OBJECT) {
    const bytes = await backend.readWhole(location, size)
    if (expected !== null && createHash('sha256').update(bytes).digest('hex') !== expected) throw corrupted()
    cache?.keep(object, bytes)
    return bytes
  }
  const stream = await backend.read(location, { size })
  return expected === null ? stream : verifiedStream(stream, expected, corrupted)
}
