import { createHash } from 'node:crypto'
import type { Written } from '../../backend/backend.ts'
import { isSettledWithin } from '../../lib/settled-within.ts'
import { readBounded } from '../../lib/streams.ts'
import { StorageError } from '../../model/errors.ts'
import type { LateFields, UploadBody } from './upload-request.ts'

/** A body that does not dawdle is here by then; others cost one more question to the database. In milliseconds. */
const ON_ITS_WAY_MS = 100

/** A body that was read whole. */
export interface SmallBody {
  bytes: Uint8Array
  written: Written
  /** What was known only behind the bytes. */
  late: LateFields
}

/**
 * Reads a small body. Whether one that is still on its way is worth waiting for is for the policies to say.
 *
 * @param ask asks them, and fails as they do
 * @throws EntityTooLarge, what `ask` throws, the stream's own error, and what the body's `late` throws
 */
export async function readSmallBody(
  body: UploadBody,
  maxBytes: number,
  ask: () => Promise<void>,
): Promise<SmallBody> {
  if (body.hasArrived()) return read(body, maxBytes)
  const reading = new AbortController()
  const arriving = read(body, maxBytes, reading.signal)
  try {
    if (!(await isSettledWithin(arriving, ON_ITS_WAY_MS))) {
      await ask()
      body.admit()
    }
    return await arriving
  } catch (error) {
    reading.abort(error)
    throw error
  }
}

async function read(body: UploadBody, maxBytes: number, signal?: AbortSignal): Promise<SmallBody> {
  const bytes = await readBounded(body.stream, maxBytes, () => new StorageError('EntityTooLarge'), signal)
  const written = { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  return { bytes, written, late: await body.late(written) }
}
