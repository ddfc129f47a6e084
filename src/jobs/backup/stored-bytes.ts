import type { Readable } from 'node:stream'
import { SortedLookup } from '../../lib/sorted-lookup.ts'
import { BackupError } from './backup-error.ts'
import { type BytesEntry, bytesPath, INLINE_BYTES } from './entries.ts'
import { readLines } from './lines.ts'
import type { BackupTarget } from './target.ts'

interface InlineLine {
  version: string
  /** In Base64. */
  bytes: string
}

/**
 * The bytes of versions as a backup has them: in files, or, of those that were in the database, in lines. They are to be asked
 * for in the order of their versions, since the lines of each backup are read once, from the first to the last.
 */
export class StoredBytes {
  /** By the backup that they are in. */
  readonly #lines = new Map<string, SortedLookup<InlineLine>>()

  /** @param id of the backup that the entries are of */
  constructor(
    private readonly target: BackupTarget,
    private readonly id: string,
  ) {}

  /**
   * The caller compares them with their hash.
   *
   * @throws MissingBackupFile, DamagedBackup, TargetUnavailable, by the stream too
   */
  async open({ version, sha256, inline, in: owner = this.id }: BytesEntry): Promise<Readable | Uint8Array> {
    if (!inline) return this.target.read(`${owner}/${bytesPath(sha256)}`)
    const path = `${owner}/${INLINE_BYTES}`
    const line = await this.#linesOf(owner, path).find(version)
    if (line) return Buffer.from(line.bytes, 'base64')
    throw new BackupError(
      'MissingBackupFile',
      `${path} in ${this.target.name} has no bytes of version ${version}`,
    )
  }

  async close(): Promise<void> {
    await Promise.all([...this.#lines.values()].map((lines) => lines.close()))
  }

  #linesOf(owner: string, path: string): SortedLookup<InlineLine> {
    const known = this.#lines.get(owner)
    if (known) return known
    const lines = new SortedLookup(
      () => inlineLines(this.target, path),
      ({ version }) => version,
    )
    this.#lines.set(owner, lines)
    return lines
  }
}

async function* inlineLines(target: BackupTarget, path: string): AsyncGenerator<InlineLine> {
  for await (const line of readLines(await target.read(path), path)) yield JSON.parse(line) as InlineLine
}
