import type { FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { settleBoth } from '../../lib/concurrency.ts'
import { flushFile } from '../../lib/fsync.ts'
import { hasCode } from '../../model/errors.ts'
import type { ChunkReader } from '../backend.ts'
import { CHECKPOINT_MS, type Drained, drainSome } from '../drain.ts'
import { mapped } from '../file-errors.ts'
import { writeAll } from './files.ts'

export interface AppendToFileOptions extends ChunkReader {
  /** Largest length of the chunk, in bytes. */
  maxBytes: number
  batchBytes(): number
  signal: AbortSignal
  tap(bytes: Uint8Array): void
  /** Is told the length up to which the file is durable. */
  onDurable(length: number): Promise<void>
  fsync: boolean
}

/** A bit less, so that what a slow client has sent within that time is told with the write that it leads to. */
const TOLD_AFTER_MS = CHECKPOINT_MS - 100

/** So much is written before the disk begins with it, so that the end of a chunk waits for little. In bytes. */
const AHEAD_BYTES = 1024 * 1024

/**
 * Adds `body` to the end of a file, and makes it durable, at the end and about once a second while it arrives. The
 * writes go on meanwhile. When the disk is full, what has found room is kept.
 *
 * @param start length of the file before
 * @throws as `drainSome`, StorageFull, BackendUnavailable, and what `onDurable` has thrown
 */
export async function appendToFile(
  file: FileHandle,
  start: number,
  body: Readable,
  { maxBytes, batchBytes, signal, tap, giveBack, onDurable, fsync }: AppendToFileOptions,
): Promise<Drained> {
  let length = start
  let checkpoint: Promise<void> | undefined
  let failure: { reason: unknown } | undefined
  let begun = start // with what is before, the disk has begun
  let last = performance.now()

  const flush = async () => {
    if (fsync) await mapped(flushFile(file))
  }
  const keep = async (upTo: number) => {
    await flush()
    await onDurable(upTo)
  }
  const write = async (batch: Uint8Array[]) => {
    if (failure) throw failure.reason
    length = await writeAll(file, batch, length)
    giveBack?.(batch)
    if (failure || checkpoint) return
    const isDueToTell = performance.now() - last >= TOLD_AFTER_MS
    if (!isDueToTell && length - begun < AHEAD_BYTES) return
    begun = length
    if (isDueToTell) last = performance.now()
    checkpoint = (isDueToTell ? keep(length) : flush())
      .catch((reason: unknown) => {
        failure = { reason }
      })
      .finally(() => {
        checkpoint = undefined
      })
  }

  const pour = () =>
    drainSome(body, { maxBytes, batchBytes, signal, tap, write }).catch((error: unknown) => {
      if (!hasCode(error, 'StorageFull')) throw error
      return { size: length - start, cut: error } // as far as there was room
    })
  try {
    const drained = await pour()
    await settleBoth(flush(), Promise.resolve(checkpoint)) // the disk works on both at once
    if (failure) throw failure.reason
    return drained
  } finally {
    await checkpoint // nothing of ours writes or tells any more
  }
}
