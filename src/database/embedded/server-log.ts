/**
 * What PostgreSQL says: `server.log` in its folder, and in `server.log.1` what it said before. It writes to the file that
 * it was started with, so that it can go on without us; and appends, so that the file can be emptied under its hands.
 */

import { constants } from 'node:fs'
import { type FileHandle, open, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Account, isRoot } from './system-account.ts'

/** A log that grew past this, in bytes, begins anew. There are at most two of them, and what comes between two looks. */
const LARGEST_LOG = 10 * 1024 * 1024

/** How often a log that is written to is looked at. In milliseconds. */
const LOOK_EVERY_MS = 2_000

/** How much is copied at once, in bytes. */
const COPY_SIZE = 256 * 1024

/** We may be root in another user's folder: through a link they could have us write anywhere. */
const IN_FOLDER = constants.O_NOFOLLOW

/** Opens the log for a PostgreSQL that is to be started; shortened, if it has grown while nobody looked. */
export async function openLog(folder: string, account: Account): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | IN_FOLDER
  const log = await open(join(folder, 'server.log'), flags, 0o600)
  if (isRoot()) await log.chown(account.uid, account.gid)
  await beginAnewIfLarge(log, folder, account)
  return log
}

/** The last lines of the log, none of those before the byte `from`. */
export async function lastLines(folder: string, from: number): Promise<string> {
  const log = await open(join(folder, 'server.log'), constants.O_RDONLY | IN_FOLDER)
  try {
    const { size } = await log.stat()
    const written = size < from ? size : size - from // it has begun anew
    const length = Math.min(written, 16_384)
    const { buffer, bytesRead } = await log.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.toString('utf8', 0, bytesRead).trim().split('\n').slice(-12).join('\n')
  } finally {
    await log.close()
  }
}

/**
 * Looks after the log from now on.
 *
 * @param onFailure hears once why the log cannot be shortened; it is tried again all the same
 * @returns what ends that
 */
export function keepLogShort(
  folder: string,
  account: Account,
  onFailure: (error: unknown) => void,
): () => void {
  let isLooking = false
  let isFailing = false
  const look = async () => {
    if (isLooking) return
    isLooking = true
    try {
      const { size } = await stat(join(folder, 'server.log'))
      if (size > LARGEST_LOG) await (await openLog(folder, account)).close()
      isFailing = false
    } catch (error) {
      if (!isFailing) onFailure(error)
      isFailing = true
    } finally {
      isLooking = false
    }
  }
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref()
  return () => clearInterval(timer)
}

async function beginAnewIfLarge(log: FileHandle, folder: string, account: Account): Promise<void> {
  const { size } = await log.stat()
  if (size <= LARGEST_LOG) return
  const path = join(folder, 'server.log.1')
  await rm(path, { force: true })
  const former = await open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | IN_FOLDER,
    0o600,
  )
  try {
    if (isRoot()) await former.chown(account.uid, account.gid)
    // The end of it, however large it has become.
    const bytes = Buffer.alloc(COPY_SIZE)
    for (let position = size - LARGEST_LOG; position < size; ) {
      const { bytesRead } = await log.read(bytes, 0, COPY_SIZE, position)
      if (bytesRead === 0) break
      await former.writeFile(bytes.subarray(0, bytesRead))
      position += bytesRead
    }
  } finally {
    // Also on a full disk, which this may be the cause of.
    await log.truncate(0)
    await former.close()
  }
}
