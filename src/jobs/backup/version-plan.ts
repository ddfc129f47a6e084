import { createHash } from 'node:crypto'
import type { InlineBytes, Snapshot, VersionRow } from '../../database/dump/snapshot.ts'
import type { SpareTime } from '../throttle.ts'
import { type BytesEntry, INLINE_BYTES, mergeByVersion, readBytesEntries } from './entries.ts'
import { LineWriter } from './lines.ts'
import type { Manifest } from './manifest.ts'
import type { ScratchLines } from './scratch-lines.ts'
import type { BackupTarget, WrittenFile } from './target.ts'

/** What is known of a version's bytes when the snapshot ends: where a backup has them, or from where they are to be copied. */
export type PlannedVersion = { entry: BytesEntry; isNew: boolean } | { row: VersionRow }

export interface PlanOptions {
  snapshot: Snapshot
  target: BackupTarget
  /** Of the backup. */
  id: string
  /** What it is made upon; null of a full one. */
  parent: Manifest | null
  /** Which versions are wanted. */
  wants(row: VersionRow): boolean
  spareTime: SpareTime
  signal: AbortSignal
}

/** So many versions are looked at together; those in the database are asked for at once. */
const AT_ONCE = 128

/**
 * Goes through all versions of a snapshot, and writes the bytes that are in the database. No memory grows with their number.
 *
 * @param plan gets every version, in their order
 * @returns what was written of bytes in the database, and which of them are not what their row says
 * @throws StorageFull, TargetUnavailable, DatabaseUnavailable, the signal's reason
 */
export async function planVersions(
  { snapshot, target, id, parent, wants, spareTime, signal }: PlanOptions,
  plan: ScratchLines<PlannedVersion>,
): Promise<{ written: WrittenFile; damaged: VersionRow[] }> {
  const lines = new LineWriter(target, `${id}/${INLINE_BYTES}`)
  const damaged: VersionRow[] = []
  try {
    const before = parent === null ? nothing() : readBytesEntries(target, parent.id)
    let batch: PlannedVersion[] = []
    const settle = async () => {
      const inside = batch.flatMap((one) => ('row' in one && one.row.isInline ? [one.row.version] : []))
      const found = new Map<string, InlineBytes>()
      if (inside.length > 0) {
        for await (const one of snapshot.inlineBytes(inside)) found.set(one.version, one)
      }
      for (const one of batch) {
        if (!('row' in one) || !one.row.isInline) {
          await plan.add(one)
          continue
        }
        const { version, bucket, checksum } = one.row
        const bytes = found.get(version)?.bytes
        const sha256 = bytes && createHash('sha256').update(bytes).digest('hex')
        if (bytes === undefined || sha256 === undefined || (checksum ?? sha256) !== sha256) {
          damaged.push(one.row)
          continue
        }
        await lines.add(JSON.stringify({ version, sha256, bytes: Buffer.from(bytes).toString('base64') }))
        const entry: BytesEntry = { version, bucket, size: bytes.length, sha256, inline: true }
        await plan.add({ entry, isNew: true })
      }
      batch = []
      await spareTime.rest()
    }
    for await (const { a: row, b: known } of mergeByVersion(snapshot.versions(), before)) {
      signal.throwIfAborted()
      if (!row || !wants(row)) continue
      if (known && parent && (row.checksum ?? known.sha256) === known.sha256) {
        const entry: BytesEntry = { ...known, bucket: row.bucket, in: known.in ?? parent.id }
        batch.push({ entry, isNew: false })
      } else batch.push({ row })
      if (batch.length === AT_ONCE) await settle()
    }
    await settle()
    return { written: await lines.end(), damaged }
  } catch (error) {
    await lines.abort()
    throw error
  }
}

async function* nothing(): AsyncGenerator<BytesEntry> {}
