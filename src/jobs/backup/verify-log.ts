import { createHash } from 'node:crypto'
import {
  historyOf,
  parsePosition,
  SEGMENT,
  SEGMENT_BYTES,
  segmentsBetween,
  timelineOf,
} from '../../database/embedded/log-segments.ts'
import { listBackups } from './backups.ts'
import { bytesPath } from './entries.ts'
import { type Finding, Findings, kindOf } from './findings.ts'
import { Fingerprints, ofHash } from './fingerprints.ts'
import {
  LOG,
  LOG_STATUS,
  type LogStatus,
  listName,
  readList,
  readLogStatus,
  readSegment,
  type VersionList,
  versionLists,
} from './log-folder.ts'
import type { BackupTarget } from './target.ts'

export interface LogReport {
  /** What was read, and, of bytes, hashed. */
  files: number
  bytes: number
  findings: Finding[]
  /** How much is wrong in all. */
  count: number
}

/**
 * Reads all of the log in a target, and compares it with what was written: its state and its lists by their own hashes, segments by
 * those of gzip, bytes by their names; and that nothing is missing that would be needed to go on from a backup. It may be written to,
 * and trimmed, meanwhile. It takes 8 bytes of memory for a version.
 *
 * @returns null when there is no log
 * @throws WrongKey, TargetUnavailable, the signal's reason
 */
export async function verifyLog(target: BackupTarget, signal: AbortSignal): Promise<LogReport | null> {
  return new LogVerification(target, signal).run()
}

class LogVerification {
  readonly #findings = new Findings()
  /** Hashes of the bytes that lists name; marked once they were met. */
  readonly #hashes = new Fingerprints()
  #files = 0
  #bytes = 0

  constructor(
    private readonly target: BackupTarget,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<LogReport | null> {
    const { list: findings } = this.#findings
    // 1. How far it reaches. What comes behind that is none of this.
    const status = await this.#noting(LOG_STATUS, () => readLogStatus(this.target))
    if (status === null) {
      if (!(await this.target.folders()).includes(LOG)) return null
      this.#findings.add('missing', LOG_STATUS, 'is not there')
    }

    // 2. The lists, and the bytes that they name.
    const lists = await versionLists(this.target)
    await this.#eachEntry(lists, (sha256) => this.#hashes.add(ofHash(sha256)))
    for await (const { path } of this.target.list(`${LOG}/bytes/`)) await this.#compareBytes(path)
    await this.#eachEntry(lists, (sha256) => this.#findMissing(sha256))

    // 3. The segments.
    const found = new Set<string>()
    for await (const { path } of this.target.list(`${LOG}/wal/`)) found.add(await this.#readSegment(path))
    this.#findLostHistories(found)
    if (status) await this.#findGaps(status, found)
    await this.#findLostLists(lists, status?.last_list)
    return { files: this.#files, bytes: this.#bytes, findings, count: this.#findings.count }
  }

  async #eachEntry(lists: VersionList[], work: (sha256: string) => void): Promise<void> {
    for (const { path } of lists) {
      const entries = await this.#noting(path, () => readList(this.target, path))
      for (const { sha256 } of entries ?? []) work(sha256)
    }
  }

  async #compareBytes(path: string): Promise<void> {
    const name = path.slice(path.lastIndexOf('/') + 1)
    const sha256 = await this.#noting(path, async () => {
      const hash = createHash('sha256')
      for await (const chunk of await this.target.read(path)) {
        this.signal.throwIfAborted()
        hash.update(chunk)
        this.#bytes += chunk.length
      }
      return hash.digest('hex')
    })
    this.#hashes.mark(ofHash(name)) // what is damaged is not missing
    this.#files++
    if (sha256 !== undefined && sha256 !== name)
      this.#findings.add('changed', path, 'is not what was written: its SHA-256 differs')
  }

  #findMissing(sha256: string): void {
    const path = `${LOG}/${bytesPath(sha256)}`
    if (!this.#hashes.isMarked(ofHash(sha256)) && !this.#findings.of(path)) {
      this.#findings.add('missing', path, 'is not there')
    }
  }

  /** Returns its name. */
  async #readSegment(path: string): Promise<string> {
    const name = path.slice(`${LOG}/wal/`.length).replace(/\.gz$/, '')
    let size = 0
    await this.#noting(path, async () => {
      for await (const chunk of (await readSegment(this.target, name)) ?? []) {
        this.signal.throwIfAborted()
        size += chunk.length
      }
      this.#files++
      this.#bytes += size
      if (SEGMENT.test(name) && size !== SEGMENT_BYTES && (await this.target.exists(path)) !== null) {
        this.#findings.add('changed', path, `has ${size} bytes of log, and a segment has ${SEGMENT_BYTES}`)
      }
    })
    return name
  }

  /** What a timeline has written cannot be gone through without its history. The first has none. */
  #findLostHistories(found: Set<string>): void {
    for (const timeline of new Set([...found].map(timelineOf))) {
      const name = historyOf(timeline)
      if (timeline > 1 && !found.has(name))
        this.#findings.add('missing', `${LOG}/wal/${name}.gz`, 'is not there')
    }
  }

  /** Each list says which one was before it, and the state which one was the last. Those before the oldest backup may be gone. */
  async #findLostLists(lists: VersionList[], last: number | undefined): Promise<void> {
    let oldest = Number.POSITIVE_INFINITY
    for await (const { database, created_at } of listBackups(this.target)) {
      if (database.start_lsn !== undefined) oldest = Date.parse(created_at)
    }
    const there = new Set(lists.map(({ time }) => time))
    for (const time of [...lists.map(({ previous }) => previous), last]) {
      if (time === undefined || time < oldest || there.has(time)) continue
      if (!this.#findings.of(listName(time))) this.#findings.add('missing', listName(time), 'is not there')
    }
  }

  /** From the oldest backup on that the log goes on from, none may be missing, on whichever timeline it is. */
  async #findGaps(
    { since, next, timeline, system_identifier }: LogStatus,
    found: Set<string>,
  ): Promise<void> {
    let from = next
    for await (const { database } of listBackups(this.target)) {
      const { start_lsn: start } = database
      if (start === undefined || database.system_identifier !== system_identifier) continue
      const isCovered =
        parsePosition(start) >= parsePosition(since) && parsePosition(start) < parsePosition(from)
      if (isCovered) from = start
    }
    const numbers = new Set([...found].map((name) => name.slice(8)))
    for (const name of segmentsBetween(from, next, timeline, SEGMENT_BYTES)) {
      if (!numbers.has(name.slice(8))) this.#findings.add('missing', `${LOG}/wal/${name}.gz`, 'is not there')
    }
  }

  /** A file that cannot be read is a finding; a target that is gone is none. */
  async #noting<T>(path: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (error) {
      this.signal.throwIfAborted()
      const kind = kindOf(error)
      // One that was trimmed meanwhile is no loss.
      if (kind === 'missing') return undefined
      if (kind === 'unreadable') throw error
      if (!this.#findings.of(path))
        this.#findings.add(
          kind,
          path,
          (error as Error).message.replace(`${path} in ${this.target.name} `, ''),
        )
      return undefined
    }
  }
}
