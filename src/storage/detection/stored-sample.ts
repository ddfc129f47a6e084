import type { Backend } from '../../backend/backend.ts'
import { readBounded } from '../../lib/streams.ts'
import type { Location } from '../../model/location.ts'
import { SAMPLE_BYTES } from './found-type.ts'

/** The first bytes of what is stored. @param size of all of them @throws MissingBytes, BackendUnavailable */
export async function storedSample(backend: Backend, at: Location, size: number): Promise<Uint8Array> {
  if (size === 0) return new Uint8Array()
  const length = Math.min(size, SAMPLE_BYTES)
  const stream = await backend.read(at, { range: { start: 0, end: length - 1 }, size })
  return readBounded(stream, length, () => new Error('More than was asked for'))
}
