import { createHash } from 'node:crypto'
import { z } from 'zod'
import { forEachAsItComes } from '../../lib/concurrency.ts'
import { UUID } from '../../lib/uuid.ts'
import { hasFault } from './backup-error.ts'
import { backupChain } from './backups.ts'
import { ComparedFiles, type VerifyOptions, type VerifyProgress } from './compared-files.ts'
import {
  BYTES,
  type BytesEntry,
  bytesPath,
  FILES,
  type FileEntry,
  INLINE_BYTES,
  readBytesEntries,
  readFileEntries,
} from './entries.ts'
import { type Finding, Findings } from './findings.ts'
import { Fingerprints, ofBoth, ofHash, ofVersion } from './fingerprints.ts'
import { jsonAs } from './json-as.ts'
import { readLines } from './lines.ts'
import { type Manifest, manifestPath, readManifest } from './manifest.ts'
import type { BackupTarget } from './target.ts'

export interface VerifyReport extends VerifyProgress {
  /** The backup, and those that it builds on. */
  backups: string[]
  versions: number
  objects: number
  /** What is wrong; some of it, if that is much. */
  findings: Finding[]
  /** How much is wrong in all. */
  count: number
  /** Objects whose bytes were missing or damaged when the backup was made, as `<bucket>/<name>`; some of them. */
  damaged: string[]
}

/** Files that are read at once. */
const AT_ONCE = 4

/** How many objects are named that were damaged before. */
const MOST_DAMAGED = 1000

/** What a backup has of the bytes of versions. */
interface Expected {
  /** Files, by hash. */
  files: Fingerprints
  /** Lines of `rows/inline_bytes.ndjson`, by version and hash. */
  lines: Fingerprints
}

const inlineLine = z.object({ version: z.string().regex(UUID), sha256: z.string(), bytes: z.base64() })

/** The columns of an object that say which bytes it has. */
const objectRow = z.object({
  bucket_id: z.string().nullable(),
  name: z.string().nullable(),
  version: z.string().nullable(),
  checksum: z.string().nullable(),
  /** Of what was there before. */
  kind: z.string().optional(),
})

/**
 * Reads all of a backup, with what it has in its parents, and compares it with what was written: every file, the bytes of every
 * version, and that every object has bytes with its hash. It takes no more memory for larger files, and 32 bytes for a version.
 *
 * @throws NoSuchBackup, NewerFormat, WrongKey, TargetUnavailable, the signal's reason
 */
export async function verifyBackup(
  target: BackupTarget,
  id: string,
  options: VerifyOptions,
): Promise<VerifyReport> {
  return new Verification(target, id, options).run()
}

class Verification {
  readonly #findings = new Findings()
  readonly #files: ComparedFiles
  readonly #expected = new Map<string, Expected>()
  readonly #versions = new Fingerprints()
  readonly #hashes = new Fingerprints()
  #versionCount = 0
  #objectCount = 0
  /** Rows without bytes. */
  #absent = 0

  constructor(
    private readonly target: BackupTarget,
    private readonly id: string,
    private readonly options: VerifyOptions,
  ) {
    this.#files = new ComparedFiles({ target, id, findings: this.#findings, ...options })
  }

  async run(): Promise<VerifyReport> {
    const { id } = this
    const damaged: string[] = []
    let backups = [id]

    // 1. The manifest, and those of the parents.
    const manifest = await this.#readManifest()
    if (manifest) {
      backups = await this.#findParents()

      // 2. The lists, by the manifest's hashes: what is not in them cannot be compared.
      const files = await this.#files.compare(`${id}/${FILES}`, { sha256: manifest.sha256.files })
      const bytes = await this.#files.compare(`${id}/${BYTES}`, { sha256: manifest.sha256.bytes })

      // 3. The files, by their list.
      const listed = files ? await this.#compareFiles() : null

      // 4. The bytes of versions, by theirs, and which objects have lost theirs.
      if (bytes) {
        await this.#readBytesList()
        for (const owner of this.#expected.keys()) await this.#compareBytes(owner)
        await this.#findMissing()
        for (const table of ['objects', 'object_versions'])
          await this.#compareObjects(table, manifest, damaged)
      }

      // 5. What nobody has listed.
      await this.#findUnlisted(listed, bytes)
    }
    return {
      ...this.#files.progress,
      backups,
      versions: this.#versionCount,
      objects: this.#objectCount,
      findings: this.#findings.list,
      count: this.#findings.count,
      damaged,
    }
  }

  async #readManifest(): Promise<Manifest | null> {
    try {
      return await readManifest(this.target, this.id)
    } catch (error) {
      if (!hasFault(error, 'DamagedBackup')) throw error
      this.#findings.add('changed', manifestPath(this.id), `is damaged: ${error.message}`)
      return null
    }
  }

  /** The ids of the chain. Files in a parent that is no backup any more are looked at all the same. */
  async #findParents(): Promise<string[]> {
    try {
      return (await backupChain(this.target, this.id)).map(({ id }) => id)
    } catch (error) {
      if (!hasFault(error, 'DamagedBackup')) throw error
      this.#findings.add('missing', manifestPath(this.id), `builds on what is not whole: ${error.message}`)
      return [this.id]
    }
  }

  /** Returns the paths of the files that are this backup's own. */
  async #compareFiles(): Promise<Set<string>> {
    const own = new Set<string>()
    await forEachAsItComes(AT_ONCE, readFileEntries(this.target, this.id), async (entry: FileEntry) => {
      if (entry.in === undefined) own.add(entry.path)
      await this.#files.compare(`${entry.in ?? this.id}/${entry.path}`, entry)
    })
    return own
  }

  async #readBytesList(): Promise<void> {
    for await (const entry of readBytesEntries(this.target, this.id)) {
      const { version, sha256 } = entry
      const { files, lines } = this.#expectedIn(entry.in ?? this.id)
      if (entry.inline) lines.add(ofBoth(version, sha256))
      else files.add(ofHash(sha256))
      this.#versions.add(ofVersion(version))
      this.#hashes.add(ofBoth(version, sha256))
      this.#versionCount++
    }
  }

  #expectedIn(owner: string): Expected {
    const known = this.#expected.get(owner)
    if (known) return known
    const expected = { files: new Fingerprints(), lines: new Fingerprints() }
    this.#expected.set(owner, expected)
    return expected
  }

  /** Reads what a backup has of the bytes, and marks what it has met. */
  async #compareBytes(owner: string): Promise<void> {
    const { files, lines } = this.#expectedIn(owner)
    await forEachAsItComes(AT_ONCE, this.target.list(`${owner}/bytes/`), async ({ path }) => {
      const sha256 = hashOf(path)
      if (sha256 === null || !files.mark(ofHash(sha256))) return // a parent may have more than is needed here
      await this.#files.compare(path, { sha256 })
    })
    if (lines.size > 0) await this.#compareLines(owner, lines)
  }

  async #compareLines(owner: string, lines: Fingerprints): Promise<void> {
    const path = `${owner}/${INLINE_BYTES}`
    let number = 0
    try {
      for await (const line of readLines(await this.target.read(path), path)) {
        this.options.signal.throwIfAborted()
        number++
        const found = jsonAs(line, inlineLine)
        const bytes = found && Buffer.from(found.bytes, 'base64')
        const sha256 = bytes && createHash('sha256').update(bytes).digest('hex')
        if (!found || sha256 !== found.sha256) {
          this.#findings.add('changed', path, `has a damaged line, number ${number}`)
        } else if (!lines.mark(ofBoth(found.version, sha256)) && owner === this.id) {
          this.#findings.add('unlisted', path, `has bytes of a version that is in no list, ${found.version}`)
        }
      }
    } catch (error) {
      await this.#files.note(path, error)
    }
  }

  /** The second time through the list: what was not met, and whose bytes are concerned. */
  async #findMissing(): Promise<void> {
    for await (const entry of readBytesEntries(this.target, this.id)) {
      const finding = this.#findingOf(entry)
      if (finding) this.#findings.concerns(entry.version, finding)
    }
  }

  #findingOf({ version, sha256, inline, in: owner = this.id }: BytesEntry): Finding | undefined {
    const { files, lines } = this.#expectedIn(owner)
    if (inline) {
      if (lines.isMarked(ofBoth(version, sha256))) return undefined
      const path = `${owner}/${INLINE_BYTES}`
      return this.#findings.add('missing', path, `does not have the bytes of version ${version}`)
    }
    const path = `${owner}/${bytesPath(sha256)}`
    const known = this.#findings.of(path)
    if (known || files.isMarked(ofHash(sha256))) return known
    return this.#findings.add('missing', path, 'is not there')
  }

  /** Every object, and what was there before, has bytes in the list, with its hash; or had none when the backup was made. */
  async #compareObjects(table: string, { damaged: before }: Manifest, damaged: string[]): Promise<void> {
    const path = `${this.id}/rows/${table}.ndjson`
    try {
      // Backups of before had no versions. A file that is listed and gone was found to be missing.
      if (table !== 'objects' && (await this.target.exists(path)) === null) return
      for await (const line of readLines(await this.target.read(path), path)) {
        this.options.signal.throwIfAborted()
        const row = jsonAs(line, objectRow)
        if (!row) continue // the file was found to be damaged
        if (table === 'objects') this.#objectCount++
        const { version, checksum, kind } = row
        if (kind === 'delete_marker' || version === null || !UUID.test(version)) continue
        const object = `${row.bucket_id}/${row.name}`
        this.#findings.nameObject(version, object)
        const isListed =
          checksum === null
            ? this.#versions.has(ofVersion(version))
            : this.#hashes.has(ofBoth(version, checksum))
        if (isListed) continue
        if (++this.#absent > before) {
          this.#findings
            .add('missing', `${this.id}/${BYTES}`, `does not have the bytes of an object`)
            .objects.push(object)
        } else if (damaged.length < MOST_DAMAGED) {
          damaged.push(object)
        }
      }
    } catch (error) {
      await this.#files.note(path, error)
    }
  }

  /** @param files that are listed @param hasBytes whether it is known which bytes are listed */
  async #findUnlisted(files: Set<string> | null, hasBytes: boolean): Promise<void> {
    const { id } = this
    const known = new Set([manifestPath(id), `${id}/${FILES}`, `${id}/${BYTES}`])
    for await (const { path } of this.target.list(`${id}/`)) {
      this.options.signal.throwIfAborted()
      const inBackup = path.slice(id.length + 1)
      const sha256 = hashOf(path)
      const isListed = inBackup.startsWith('bytes/')
        ? !hasBytes || (sha256 !== null && this.#expectedIn(id).files.has(ofHash(sha256)))
        : files === null || files.has(inBackup) || known.has(path)
      if (!isListed) this.#findings.add('unlisted', path, 'is in no list of the backup')
    }
  }
}

/** The hash by which bytes are called; null for a path that is none of bytes. */
function hashOf(path: string): string | null {
  const sha256 = path.slice(path.lastIndexOf('/') + 1)
  return /^[0-9a-f]{64}$/.test(sha256) && path.slice(path.indexOf('/') + 1) === bytesPath(sha256)
    ? sha256
    : null
}
