import type { Readable } from 'node:stream'
import { StorageError } from '../../model/errors.ts'
import type { ReadOptions } from '../backend.ts'
import { ResumingDownload } from './resuming-download.ts'
import type { Store } from './store.ts'

export interface ReadObjectOptions extends ReadOptions {
  /** Whether we read it at once, so that no slow client keeps its connection. */
  isShort?: boolean
}

/** @throws MissingBytes when there is no such object, or not of that size; BackendUnavailable, BackendRefused */
export async function readObject(
  store: Store,
  key: string,
  { range, size, isShort = false }: ReadObjectOptions = {},
): Promise<Readable> {
  const first = await store.download(key, { range, isShort })
  if (size !== undefined && first.size !== size) {
    first.body.destroy()
    throw new StorageError('MissingBytes')
  }
  return new ResumingDownload({
    range: range ?? { start: 0, end: first.size - 1 },
    first,
    resume: (rest) => store.download(key, { range: rest, etag: first.etag, isShort }),
    stallMs: store.settings.timeoutMs,
  })
}
