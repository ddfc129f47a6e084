import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Logger } from 'pino'
import type { ChunkReader } from '../../backend/backend.ts'
import type { Progress, ResumableBackend } from '../../backend/resumable-backend.ts'
import type { TakenUpload } from '../../database/queries/resumable-uploads.ts'
import { hasCode, StorageError } from '../../model/errors.ts'
import type { Location } from '../../model/location.ts'
import type { FirstLook } from './first-look.ts'
import type { LateHash } from './late-hash.ts'
import { unlessLost } from './lost-bytes.ts'
import type { RunningHash } from './running-hashes.ts'

export interface Chunk extends ChunkReader {
  body: Readable
  /** Length of the body in bytes, or null for a chunked one. */
  size: number | null
  /** Where the client thinks that it belongs, in bytes. */
  offset: number
  /** Length of the whole upload, if the client says it with this chunk, in bytes. */
  length: number | null
  /** What the bytes of this chunk must have, or none of them is kept. */
  checksum: Checksum | undefined
  /** Takes the place of a request that brings bytes, once the policies have allowed it. @throws TooManyUploads */
  admit(): void
}

export interface Checksum {
  /** As `createHash` knows it. */
  algorithm: string
  digest: Uint8Array
}

interface ReceivingParts {
  backend: ResumableBackend
  logger: Logger
}

interface Receiving {
  chunk: Chunk
  /** In bytes. */
  maxBytes: number
  /** Of all that is before the chunk, and then of the chunk, too. */
  late: LateHash | undefined
  /** Of an upload's first chunk. */
  look: FirstLook | undefined
  /** Fails when the policies do not allow the chunk. */
  asked: Promise<unknown>
  /** Fails when nothing of the chunk is to be kept: also by what the first bytes say, if they have a say. */
  allowed: Promise<unknown>
  /** Notes how far the upload is. */
  note(progress: Progress): Promise<void>
  /** Notes that it is where it was before the chunk. */
  undo(): Promise<void>
  signal: AbortSignal
}

/** Stores a chunk as far as it comes, and notes how far that is. */
export async function receiveChunk(
  parts: ReceivingParts,
  at: Location,
  { progress, length }: TakenUpload,
  { chunk, maxBytes, late, look, asked, allowed, note, undo, signal }: Receiving,
): Promise<{ hash: RunningHash | undefined; cut: Error | null }> {
  const { body, size, checksum, giveBack } = chunk
  const refused = new AbortController()
  allowed.catch((reason: unknown) => refused.abort(reason))
  if (size !== null && size > maxBytes) {
    await asked
    throw new StorageError('EntityTooLarge')
  }
  let seen = progress.offset
  const sum = checksum && createHash(checksum.algorithm)
  let reached = progress
  let cut: Error | null
  try {
    const appended = await unlessLost(parts.logger, at, () =>
      parts.backend.append(at, progress, body, {
        maxBytes,
        size: length,
        signal: AbortSignal.any([signal, refused.signal]),
        giveBack: late ? (chunks) => late.giveBack(chunks) : giveBack,
        tap: (bytes) => {
          seen += bytes.length
          look?.see(bytes)
          late?.update(bytes)
          sum?.update(bytes)
        },
        onProgress: async (next) => {
          reached = next
          await asked
          if (look?.isOpen) return // it is too little to be told by, and to be worth a note
          await allowed
          // What has not been compared must not be kept, after a crash either.
          if (!sum) await note(next)
        },
      }),
    ).finally(() => look?.end())
    reached = appended.progress
    cut = appended.cut
    await allowed
    if (checksum && cut) throw cut
    if (checksum && sum && !sum.digest().equals(checksum.digest)) throw new StorageError('ChecksumMismatch')
  } catch (error) {
    const isRefused = await allowed.then(
      () => false,
      () => true,
    )
    // When it is too long, nobody knows which of its bytes were meant.
    if (isRefused || sum || hasCode(error, 'EntityTooLarge')) {
      await goBack(parts, at, { from: reached, to: progress }, { undo, signal })
    }
    await allowed // why it is refused comes first
    throw error
  }
  await note(reached)
  const { offset } = reached
  // A full disk has not taken all that was hashed.
  return { hash: late && seen === offset ? { hash: late.finish(), offset } : undefined, cut }
}

/** Keeps nothing of a chunk. What it has left in the backend is freed if it can be. */
async function goBack(
  parts: ReceivingParts,
  at: Location,
  { from, to }: { from: Progress; to: Progress },
  { undo, signal }: Pick<Receiving, 'undo' | 'signal'>,
): Promise<void> {
  await undo() // fails when another request has it
  if (hasCode(signal.reason, 'DatabaseUnavailable')) return // the lock is lost: another may have it at any moment
  const { backend, logger } = parts
  try {
    await backend.goBack(at, { from, to })
  } catch (error) {
    logger.warn({ err: error, version: at.version }, 'an unwanted chunk of an upload has left something')
  }
}
