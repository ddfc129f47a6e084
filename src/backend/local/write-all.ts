import type { FileHandle } from 'node:fs/promises'
import { mapped } from '../file-errors.ts'

/** Writes all of these, from `position` on. Returns where they end. @throws StorageFull, BackendUnavailable */
export async function writeAll(file: FileHandle, batch: Uint8Array[], position: number): Promise<number> {
  let rest = batch
  let end = position
  while (rest.length > 0) {
    const { bytesWritten } = await mapped(file.writev(rest, end))
    end += bytesWritten
    rest = after(bytesWritten, rest)
  }
  return end
}

/** What is left of `chunks` after `bytes`: a disk that fills up takes less than it was given. */
function after(bytes: number, chunks: Uint8Array[]): Uint8Array[] {
  let skip = bytes
  for (const [index, chunk] of chunks.entries()) {
    if (skip < chunk.length) return [chunk.subarray(skip), ...chunks.slice(index + 1)]
    skip -= chunk.length
  }
  return []
}
