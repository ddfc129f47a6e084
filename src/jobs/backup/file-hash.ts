import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { promisify } from 'node:util'
import { errno, fromErrno } from '../../backend/file-errors.ts'
import type { VersionPart } from '../../database/queries/version-parts.ts'
import { StorageError } from '../../model/errors.ts'
import { compareWith } from '../../storage/reading/expected-bytes.ts'

// Neither a stream nor a FileHandle: of a million small files those were most of the work.
const open = promisify(fs.open)
const read = promisify(fs.read)

/** The most that is read at once, in bytes. */
const CHUNK = 512 * 1024

interface HashFileOptions {
  /** What it should have, in bytes. */
  size: number
  /** Of which it was made, and which are compared on the way; null when it was not. */
  parts: VersionPart[] | null
  signal: AbortSignal
}

/**
 * The SHA-256 of a file of the local backend, in 64 lower-case hexadecimal digits.
 *
 * @throws MissingBytes when it has gone, or has another size
 * @throws CorruptedBytes when its parts are others
 * @throws BackendUnavailable, the signal's reason
 */
export async function hashFile(path: string, { size, parts, signal }: HashFileOptions): Promise<string> {
  const hash = createHash('sha256')
  const comparison = parts && compareWith(parts)
  // One byte more than there should be, so that the one read of a small file has seen its end.
  const buffer = Buffer.allocUnsafe(Math.min(size + 1, CHUNK))
  let length = 0
  try {
    const file = await open(path, 'r')
    try {
      do {
        signal.throwIfAborted()
        const { bytesRead } = await read(file, buffer, 0, buffer.length, length)
        if (bytesRead === 0) break
        const bytes = buffer.subarray(0, bytesRead)
        hash.update(bytes)
        comparison?.update(bytes)
        length += bytesRead
      } while (length < size)
    } finally {
      fs.close(file, () => {}) // nobody waits for it: nothing was written
    }
  } catch (error) {
    throw errno(error) === 'ENOENT' ? new StorageError('MissingBytes', { cause: error }) : fromErrno(error)
  }
  if (length !== size) throw new StorageError('MissingBytes')
  if (comparison && !comparison.holds()) throw new StorageError('CorruptedBytes')
  return hash.digest('hex')
}
