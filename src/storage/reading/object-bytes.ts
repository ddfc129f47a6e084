import type { Backend, ResponseHeaders } from '../../backend/backend.ts'
import { StorageError } from '../../model/errors.ts'
import type { ByteRange } from '../../model/location.ts'
import type { StoredObject } from '../object/stored-object.ts'
import type { ByteCache } from './byte-cache.ts'
import { compareWith, expectedBytes } from './expected-bytes.ts'
import { type Reporting, reportCorrupted } from './quarantine.ts'
import type { OpenBytes, Representation } from './representation.ts'
import { verifiedStream } from './verified-stream.ts'

/** An object of up to this many bytes is read and sent as one buffer: a stream costs six times as much. */
const SMALL_OBJECT = 256 * 1024

export interface ObjectBytesOptions extends Reporting {
  backend: Backend
  /** Whether whole reads are hashed again, and cut off when they differ. */
  verifyReads: boolean
  /** The bytes that are kept in memory; undefined keeps none. */
  byteCache: ByteCache | undefined
}

/**
 * An object as it is sent: what its row says, and the bytes that the row names.
 *
 * @param bytes all of them, if they have come with the row
 */
export function representationOf(
  object: StoredObject,
  options: ObjectBytesOptions,
  bytes?: Uint8Array<ArrayBuffer> | null,
): Representation {
  const { etag, lastModified, size, contentType, cacheControl, contentEncoding, robotsTag, checksum } = object
  return {
    etag,
    lastModified,
    size,
    contentType,
    cacheControl,
    contentEncoding,
    robotsTag,
    checksum,
    open: (part, direct) => openBytes(object, part, direct, options, bytes ?? undefined),
  }
}

async function openBytes(
  object: StoredObject,
  part: 'whole' | ByteRange,
  direct: ResponseHeaders | undefined,
  options: ObjectBytesOptions,
  given: Uint8Array<ArrayBuffer> | undefined,
): Promise<OpenBytes> {
  const { database, backend, byteCache, verifyReads } = options
  const { location, size, checksum } = object
  if (location === null || size === null) throw new StorageError('MissingBytes')
  if (object.isCorrupted) throw new StorageError('CorruptedBytes')
  if (given && given.length !== size) throw new StorageError('MissingBytes')
  const inMemory = byteCache?.get(object) ?? (part === 'whole' ? undefined : given)
  if (inMemory) return part === 'whole' ? inMemory : inMemory.subarray(part.start, part.end + 1)
  const url = direct && (await backend.directUrl(location, size, direct))
  if (url) return url
  if (part !== 'whole') return backend.read(location, { range: part, size })
  const expected = verifyReads ? await expectedBytes(database, { checksum, version: location.version }) : null
  const corrupted = () => {
    reportCorrupted(options, object)
    return new StorageError('CorruptedBytes')
  }
  if (given || size <= SMALL_OBJECT) {
    const bytes = given ?? (await backend.readWhole(location, size))
    const comparison = expected === null ? null : compareWith(expected)
    comparison?.update(bytes)
    if (comparison && !comparison.holds()) throw corrupted()
    byteCache?.keep(object, bytes)
    return bytes
  }
  const stream = await backend.read(location, { size })
  return expected === null ? stream : verifiedStream(stream, expected, corrupted)
}
