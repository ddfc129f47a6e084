import { createHash, randomUUID } from 'node:crypto'
import {
  BYTES,
  type BytesEntry,
  bytesPath,
  EntryWriter,
  FILES,
  type FileEntry,
  INLINE_BYTES,
} from '../../../src/jobs/backup/entries.ts'
import { LineWriter } from '../../../src/jobs/backup/lines.ts'
import { type Manifest, writeManifest } from '../../../src/jobs/backup/manifest.ts'
import type { BackupTarget } from '../../../src/jobs/backup/target.ts'
import { newManifest } from './new-manifest.ts'

export interface MadeObject {
  bucket: string
  name: string
  bytes: Buffer
  /** Whether the bytes are a line, and no file. */
  isInline?: boolean
  /** Made when absent. */
  version?: string
  /** Whether the bytes were lost before the backup was made. */
  isLost?: boolean
}

const BUCKET = '00000000-0000-4000-8000-00000000000b'

/** Writes a backup of these objects, by the rules of the format alone. What a parent has is referred to. */
export async function makeBackup(
  target: BackupTarget,
  objects: MadeObject[],
  parent?: { manifest: Manifest; entries: Map<string, BytesEntry> },
): Promise<{ manifest: Manifest; entries: Map<string, BytesEntry> }> {
  const manifest = newManifest({
    parent: parent?.manifest.id ?? null,
    type: parent ? 'incremental' : 'full',
    damaged: objects.filter(({ isLost }) => isLost).length,
  })
  const { id } = manifest
  for (const object of objects) object.version ??= randomUUID()
  const byVersion = [...objects].sort((a, b) => ((a.version ?? '') < (b.version ?? '') ? -1 : 1))

  const entries = new Map<string, BytesEntry>()
  const inline: string[] = []
  for (const { version = '', bytes, isInline, isLost } of byVersion) {
    if (isLost) continue
    const known = parent?.entries.get(version)
    const sha256 = sha256Of(bytes)
    const entry = {
      version,
      bucket: BUCKET,
      size: bytes.length,
      sha256,
      ...(isInline && { inline: true as const }),
    }
    entries.set(version, known ? { ...known, in: known.in ?? parent?.manifest.id } : entry)
    if (known) continue
    if (isInline) inline.push(JSON.stringify({ version, sha256, bytes: bytes.toString('base64') }))
    else await target.write(`${id}/${bytesPath(sha256)}`, bytes)
  }
  const rows = objects.map(({ bucket, name, version, bytes }) =>
    JSON.stringify({
      id: randomUUID(),
      bucket_id: bucket,
      name,
      version,
      checksum: sha256Of(bytes),
      metadata: null,
    }),
  )
  const buckets = [...new Set(objects.map(({ bucket }) => bucket))].map((name) =>
    JSON.stringify({ id: name, name }),
  )
  const files: FileEntry[] = [
    await linesOf('rows/buckets.ndjson', buckets),
    await linesOf(INLINE_BYTES, inline),
    await linesOf('rows/objects.ndjson', rows),
  ]
  const filesHash = await listOf(FILES, files)
  const bytesHash = await listOf(BYTES, [...entries.values()])
  const whole = { ...manifest, sha256: { files: filesHash, bytes: bytesHash } }
  await writeManifest(target, whole)
  return { manifest: whole, entries }

  async function linesOf(path: string, lines: string[]): Promise<FileEntry> {
    const writer = new LineWriter(target, `${id}/${path}`)
    for (const line of lines) await writer.add(line)
    const { size, sha256 } = await writer.end()
    return { path, size, sha256 }
  }

  async function listOf<T extends FileEntry | BytesEntry>(path: string, list: T[]): Promise<string> {
    const writer = new EntryWriter<T>(target, `${id}/${path}`)
    for (const entry of list) await writer.add(entry)
    return (await writer.end()).sha256
  }
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
