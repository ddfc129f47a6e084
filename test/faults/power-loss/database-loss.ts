import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

/** What a power failure does with what PostgreSQL had not flushed. */
export interface DatabaseLoss {
  /** Whether a name that was made, changed or removed has reached the disk all the same. */
  keepsName(): boolean
  /** Whether a sector has: with it all that was written to it before. */
  keepsSector(): boolean
  /** Whether a file keeps its new length, with zeros where nothing has reached the disk. */
  keepsLength(): boolean
}

/** What a disk writes whole, in bytes. */
const SECTOR = 512

/** `struct record` of database-recorder.c, in bytes. */
const HEADER = 48

interface DatabaseRecord {
  kind: string
  inode: bigint
  folder: bigint
  offset: number
  count: number
  size: number
  payload: Buffer
}

/**
 * Takes from the cluster what was not flushed, latest first, while nobody uses it. A file's flush makes its own names durable
 * as well: that is what ext4, XFS and btrfs do, and what PostgreSQL trusts in.
 */
export function loseUnflushed(cluster: string, journal: string, loss: DatabaseLoss): void {
  const files = new Files(cluster, loss)
  const flushed = new Set<bigint>()
  for (const record of readRecords(journal).reverse()) {
    if (record.kind === 'A') break
    if (record.kind === 'F') flushed.add(record.inode)
    if (flushed.has(record.inode) || (record.folder !== 0n && flushed.has(record.folder))) continue
    if (record.kind === 'B') files.restore(record)
    else if (!loss.keepsName()) files.restoreName(record)
  }
  files.cutToLength()
}

function readRecords(journal: string): DatabaseRecord[] {
  const bytes = existsSync(journal) ? readFileSync(journal) : Buffer.alloc(0)
  const records: DatabaseRecord[] = []
  let at = 0
  while (at + HEADER <= bytes.length) {
    const length = bytes.readUInt32LE(at + 4)
    const end = at + HEADER + length
    if (end > bytes.length) break // its process was killed in the middle of it, and had not changed anything yet
    records.push({
      kind: String.fromCharCode(bytes.readUInt32LE(at)),
      inode: bytes.readBigUInt64LE(at + 8),
      folder: bytes.readBigUInt64LE(at + 16),
      offset: Number(bytes.readBigUInt64LE(at + 24)),
      count: Number(bytes.readBigUInt64LE(at + 32)),
      size: Number(bytes.readBigUInt64LE(at + 40)),
      payload: bytes.subarray(at + HEADER, end),
    })
    at = end
  }
  return records
}

/** The files of a cluster as they go back in time. */
class Files {
  /** Where each is by now. */
  readonly #paths = new Map<bigint, string>()
  /** The sectors that go back no further. */
  readonly #kept = new Set<string>()
  /** How long each is to be, in bytes. */
  readonly #lengths = new Map<bigint, number>()
  /** Up to where each has sectors that were kept, in bytes. */
  readonly #ends = new Map<bigint, number>()

  constructor(
    cluster: string,
    private readonly loss: DatabaseLoss,
  ) {
    if (!existsSync(cluster)) return
    for (const entry of readdirSync(cluster, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue
      const path = join(entry.parentPath, entry.name)
      this.#paths.set(inodeAt(path), path)
    }
  }

  restore({ inode, offset, count, size, payload }: DatabaseRecord): void {
    const path = this.#paths.get(inode)
    if (path === undefined) return
    const fd = openSync(path, 'r+')
    try {
      // What was cut off comes back first.
      if (fstatSync(fd).size < size) ftruncateSync(fd, size)
      for (const [from, to] of this.#lostRuns(inode, offset, offset + count)) {
        const bytes = Buffer.alloc(to - from)
        payload.subarray(from - offset).copy(bytes) // shorter where the file ended
        writeSync(fd, bytes, 0, bytes.length, from)
      }
      this.#lengths.set(inode, size)
    } finally {
      closeSync(fd)
    }
  }

  /** Of the bytes from `start` to `end` those of sectors that are lost, as few runs. */
  #lostRuns(inode: bigint, start: number, end: number): [number, number][] {
    const runs: [number, number][] = []
    for (let at = start; at < end; ) {
      const number = Math.floor(at / SECTOR)
      const next = Math.min((number + 1) * SECTOR, end)
      const sector = `${inode}:${number}`
      const last = runs.at(-1)
      if (this.#kept.has(sector) || this.loss.keepsSector()) {
        this.#kept.add(sector)
        this.#ends.set(inode, Math.max(this.#ends.get(inode) ?? 0, next))
      } else if (last?.[1] === at) last[1] = next
      else runs.push([at, next])
      at = next
    }
    return runs
  }

  restoreName({ kind, inode, payload }: DatabaseRecord): void {
    const [first = '', second = '', third = ''] = payload.toString().split('\0')
    if (kind === 'C') {
      if (this.#paths.get(inode) !== first) return
      unlinkSync(first)
      this.#paths.delete(inode)
    } else if (kind === 'X') {
      this.#comesBack(second, first)
    } else {
      if (this.#paths.get(inode) !== second || existsSync(first)) return
      renameSync(second, first)
      this.#paths.set(inode, first)
      this.#comesBack(third, second)
    }
  }

  #comesBack(shadow: string, path: string): void {
    if (shadow === '' || existsSync(path) || !existsSync(dirname(path))) return
    linkSync(shadow, path)
    this.#paths.set(inodeAt(path), path)
  }

  /** Past the end of what it was there are only zeros by now, unless sectors were kept. */
  cutToLength(): void {
    for (const [inode, length] of this.#lengths) {
      const path = this.#paths.get(inode)
      if (path === undefined) continue
      const fd = openSync(path, 'r+')
      const now = fstatSync(fd).size
      const end = Math.max(length, this.#ends.get(inode) ?? 0)
      if (now > end && !this.loss.keepsLength()) ftruncateSync(fd, end)
      closeSync(fd)
    }
  }
}

function inodeAt(path: string): bigint {
  return lstatSync(path, { bigint: true }).ino
}
