/**
 * The log in a target, beside the backups (decision 0060):
 *
 *     log/state.json             what of it is there, see LogStatus
 *     log/wal/<segment>.gz       PostgreSQL's write-ahead log, and its histories
 *     log/versions-<time>-<time of the one before>-<sha256>.ndjson
 *                                the bytes that came up: lines as those of bytes.ndjson, in the order of events
 *     log/bytes/<2>/<sha256>     bytes of versions, as in a backup
 *
 * A flipped byte is found in each: by a checksum, by the name, by gzip's own. So is a list that is lost: by the name of the
 * next one, or by the state.
 *
 * A segment comes after the list of all versions that its transactions have made, and a list after its bytes. So whatever
 * second the log reaches has its bytes, in the log or in the backup that it goes on from.
 */

import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { createGunzip, createGzip } from 'node:zlib'
import { z } from 'zod'
import { endOf, parsePosition, SEGMENT, SEGMENT_BYTES } from '../../database/embedded/log-segments.ts'
import { BackupError, hasFault } from './backup-error.ts'
import { withChecksum } from './checksummed.ts'
import { type BytesEntry, bytesPath } from './entries.ts'
import type { BackupTarget } from './target.ts'

/** As if it were the id of a backup. */
export const LOG = 'log'

export const LOG_STATUS = 'log/state.json'

const position = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/)

const statusSchema = z.object({
  /** Of the database whose log it is. */
  system_identifier: z.string(),
  timeline: z.number().int().positive(),
  /** From here on it has no gap. */
  since: position,
  /** What comes next. */
  next: position,
  /** All that was committed by then is there. */
  until: z.iso.datetime().nullable(),
  /** The time in the name of the newest list of versions, in milliseconds since 1970; missing while there is none. */
  last_list: z.number().int().positive().optional(),
})

export type LogStatus = z.infer<typeof statusSchema>

/** Null when there is no log. @throws DamagedBackup, TargetUnavailable */
export async function readLogStatus(target: BackupTarget): Promise<LogStatus | null> {
  try {
    const json = await text(await target.read(LOG_STATUS))
    const written = JSON.parse(json)
    const status = statusSchema.safeParse(written).data
    if (status && json === withChecksum(written)) return status
  } catch (error) {
    if (hasFault(error, 'MissingBackupFile')) return null
    if (!(error instanceof SyntaxError)) throw error
  }
  throw damaged(target, LOG_STATUS)
}

/** @throws StorageFull, TargetUnavailable */
export async function writeLogStatus(target: BackupTarget, status: LogStatus): Promise<void> {
  await target.write(LOG_STATUS, Buffer.from(withChecksum(status)))
}

/**
 * Writes a segment or a history, unless it is there: whoever was killed begins again with it.
 *
 * @throws UnusableTarget when another one is there by its name; StorageFull, TargetUnavailable, the stream's own error
 */
export async function writeSegment(target: BackupTarget, name: string, content: Buffer): Promise<void> {
  const path = segmentPath(name)
  if ((await target.exists(path)) !== null) {
    const known = await readAll(await readSegment(target, name))
    if (known?.equals(content)) return
    throw new BackupError(
      'UnusableTarget',
      `${path} in ${target.name} is of another database that was this one before it was restored: give the log another target, or remove ${LOG}/ there`,
    )
  }
  const packed = createGzip({ level: 1 })
  packed.end(content)
  await target.write(path, packed)
}

/** Null when it is not there. @throws DamagedBackup, TargetUnavailable, by the stream too */
export async function readSegment(target: BackupTarget, name: string): Promise<Readable | null> {
  const path = segmentPath(name)
  if ((await target.exists(path)) === null) return null
  return Readable.from(unpacked(target, path, await target.read(path)), { objectMode: false })
}

async function* unpacked(target: BackupTarget, path: string, packed: Readable): AsyncGenerator<Buffer> {
  const unpacking = createGunzip()
  packed.on('error', (error) => unpacking.destroy(error))
  packed.pipe(unpacking)
  try {
    yield* unpacking
  } catch (error) {
    const isOfGzip = String((error as NodeJS.ErrnoException).code).startsWith('Z_')
    throw isOfGzip ? damaged(target, path, error) : error
  } finally {
    packed.destroy()
  }
}

async function readAll(stream: Readable | null): Promise<Buffer | null> {
  return stream && Buffer.concat(await stream.toArray())
}

/**
 * @param time later than all before, in milliseconds since 1970
 * @param previous that of the list before; 0 of the first
 * @throws StorageFull, TargetUnavailable
 */
export async function writeVersions(
  target: BackupTarget,
  { time, previous }: { time: number; previous: number },
  entries: BytesEntry[],
): Promise<void> {
  const lines = Buffer.from(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
  await target.write(`${listName(time)}-${stamp(previous)}-${sha256Of(lines)}.ndjson`, lines)
}

/**
 * What the log has of versions, in no order, and some of them again.
 *
 * @param after only lists that were written after this
 * @throws DamagedBackup, TargetUnavailable
 */
export async function* readVersions(target: BackupTarget, after: Date): AsyncGenerator<BytesEntry> {
  for (const { path, time } of await versionLists(target)) {
    if (time <= after.getTime()) continue
    for (const entry of await readList(target, path)) yield { ...entry, in: LOG }
  }
}

/**
 * Removes what no backup needs to be gone on from that began at `oldest`, or later.
 *
 * @param from the begin of its log
 * @throws TargetUnavailable, DamagedBackup
 */
export async function trimLog(
  target: BackupTarget,
  { oldest, from }: { oldest: Date; from: string },
): Promise<void> {
  const first = parsePosition(from)
  for await (const { path } of target.list(`${LOG}/wal/`)) {
    const name = path.slice(`${LOG}/wal/`.length).replace(/\.gz$/, '')
    // On whichever timeline it is. Histories stay.
    if (SEGMENT.test(name) && endOf(name, SEGMENT_BYTES) <= first) await target.remove(path)
  }
  const lists = await versionLists(target)
  const old = lists.filter(({ time }) => time < oldest.getTime()).slice(0, LISTS_AT_ONCE)
  const hashes = new Set<string>()
  for (const { path } of old) for (const entry of await readList(target, path)) hashes.add(entry.sha256)
  for (const { path } of lists.slice(old.length)) {
    if (hashes.size === 0) break
    for (const entry of await readList(target, path)) hashes.delete(entry.sha256)
  }
  // The lists go last: else nobody would know of bytes that are left.
  for (const sha256 of hashes) await target.remove(`${LOG}/${bytesPath(sha256)}`)
  for (const { path } of old) await target.remove(path)
}

/** Each is of a minute, or so: their hashes are in memory. */
const LISTS_AT_ONCE = 500

function segmentPath(name: string): string {
  return `${LOG}/wal/${name}.gz`
}

/** All of a list: it is of a minute, or so. @throws DamagedBackup, TargetUnavailable */
export async function readList(target: BackupTarget, path: string): Promise<BytesEntry[]> {
  const lines = await text(await target.read(path))
  if (LIST.exec(path)?.[3] !== sha256Of(lines)) throw damaged(target, path)
  return lines.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
}

function damaged({ name }: BackupTarget, path: string, cause?: unknown): BackupError {
  return new BackupError('DamagedBackup', `${path} in ${name} is damaged`, { cause })
}

function sha256Of(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

/** A list of versions, by its name. */
export interface VersionList {
  path: string
  /** In milliseconds since 1970. */
  time: number
  /** That of the list before; 0 of the first, undefined where it is not said. */
  previous: number | undefined
}

/** Sorted by time. */
export async function versionLists(target: BackupTarget): Promise<VersionList[]> {
  const lists: VersionList[] = []
  for await (const { path } of target.list(`${LOG}/`)) {
    const [, time, previous] = LIST.exec(path) ?? []
    if (time === undefined) continue
    lists.push({ path, time: Number(time), previous: previous === undefined ? undefined : Number(previous) })
  }
  return lists.sort((a, b) => a.time - b.time)
}

/** Without the time of the one before, as in the first logs. */
const LIST = /^log\/versions-(\d{15})(?:-(\d{15}))?-([0-9a-f]{64})\.ndjson$/

/** What the path of a list begins with. */
export function listName(time: number): string {
  return `${LOG}/versions-${stamp(time)}`
}

/** So that names sort. */
function stamp(time: number): string {
  return String(time).padStart(15, '0')
}
