import { randomUUID } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../random.ts'
import type { DatabaseLoss } from './database-loss.ts'
import { type Change, DiskFile, DiskFolder, type DiskNode, mustWait, put } from './disk.ts'

/** What a power failure does with everything that was not flushed. */
export interface Loss {
  /** Whether a change of a folder's names has reached the disk all the same. */
  keeps(change: Change): boolean
  /** How many of a file's bytes have, from those that were flushed up to `length`. */
  bytesOf(file: DiskFile, length: number): number
  /** Whether the rest of a file becomes zeros, as if its length had reached the disk and its bytes had not. */
  zeroes(): boolean
  /** What it does with PostgreSQL's own files. */
  database: DatabaseLoss
}

/** All of it is lost, and every removal undone. */
export const EVERYTHING: Loss = {
  keeps: () => false,
  bytesOf: (file) => file.flushed,
  zeroes: () => false,
  database: { keepsName: () => false, keepsSector: () => false, keepsLength: () => false },
}

/** Any part of it is lost: disks write when and in which order they like. */
export function anything(random: Random): Loss {
  const keptOfTen = 1 + random.below(9)
  return {
    keeps: () => random.below(10) < keptOfTen,
    bytesOf: (file, length) => file.flushed + random.below(length - file.flushed + 1),
    zeroes: () => random.below(2) === 0,
    database: {
      keepsName: () => random.below(10) < keptOfTen,
      keepsSector: () => random.below(10) < keptOfTen,
      keepsLength: () => random.below(2) === 0,
    },
  }
}

/** Content that others write, by calls that nobody records. The name itself is like any other. */
export type IsOpaque = (path: string) => boolean

/** What is at `path` now, all of it durable. Gives each file a shadow. */
export function scan(path: string, shadows: string, isOpaque: IsOpaque): DiskFolder {
  const folder = new DiskFolder()
  if (isOpaque(path)) return folder
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inside = join(path, entry.name)
    if (entry.isDirectory()) {
      folder.add(entry.name, scan(inside, shadows, isOpaque))
    } else {
      const shadow = `before-${randomUUID()}`
      linkSync(inside, join(shadows, shadow))
      folder.add(entry.name, new DiskFile(shadow, statSync(inside).size))
    }
  }
  return folder
}

/** What is on the disk and should not be according to the journal, or the other way round. */
export function disagreements(path: string, folder: DiskFolder, isOpaque: IsOpaque): string[] {
  if (isOpaque(path)) return []
  const entries = new Map(readdirSync(path, { withFileTypes: true }).map((entry) => [entry.name, entry]))
  const doubtful = new Set(folder.inDoubt.flatMap((change) => [...change.keys()]))
  const names = new Set([...entries.keys(), ...folder.names.keys()])
  return [...names].flatMap((name) => {
    const inside = join(path, name)
    const entry = entries.get(name)
    const node = folder.names.get(name)
    if (entry === undefined || node === undefined) {
      return doubtful.has(name) ? [] : [`${inside} is only ${entry ? 'on the disk' : 'in the journal'}`]
    }
    if (entry.isDirectory() !== node instanceof DiskFolder) return [`${inside} is something else`]
    if (node instanceof DiskFolder) return disagreements(inside, node, isOpaque)
    const { size } = statSync(inside)
    const isRight = node.isBeingWritten ? size >= node.written : size === node.written
    return isRight ? [] : [`${inside} has ${size} bytes, in the journal ${node.written}`]
  })
}

/** Makes of the folder at `path` what a power failure has left of it. */
export function lose(
  path: string,
  folder: DiskFolder,
  loss: Loss,
  shadows: string,
  isOpaque: IsOpaque,
): void {
  if (isOpaque(path)) return
  const left = survivors(folder, loss)
  for (const name of readdirSync(path)) {
    if (!left.has(name)) rmSync(join(path, name), { recursive: true, maxRetries: 3 })
  }
  for (const [name, node] of left) {
    const inside = join(path, name)
    if (node instanceof DiskFolder) {
      if (isOpaque(inside) && !existsSync(inside)) throw new Error(`Nobody knows what was in ${inside}`)
      mkdirSync(inside, { recursive: true, mode: 0o700 })
      lose(inside, node, loss, shadows, isOpaque)
    } else {
      const shadow = join(shadows, node.shadow)
      cut(shadow, node, loss)
      rmSync(inside, { force: true })
      if (existsSync(shadow)) linkSync(shadow, inside)
    }
  }
}

function survivors(folder: DiskFolder, loss: Loss): ReadonlyMap<string, DiskNode> {
  const left = new Map(folder.flushedNames)
  const stuck = new Set<string>()
  for (const change of [...folder.unflushed, ...folder.inDoubt]) {
    const names = [...change.keys()]
    // Of one name's changes a later one is not kept without those before it.
    const isKept = !names.some((name) => stuck.has(name)) && !mustWait(change) && loss.keeps(change)
    if (isKept) put(left, change)
    else for (const name of names) stuck.add(name)
  }
  return left
}

/** Takes from a file what was not flushed. Once: with two names it is met twice. */
function cut(path: string, file: DiskFile, loss: Loss): void {
  if (!existsSync(path)) return // its making was in doubt
  const { size } = statSync(path)
  if (size <= file.flushed) return
  const kept = loss.bytesOf(file, size)
  file.flushed = size // what is left of it stays
  truncateSync(path, kept)
  if (loss.zeroes()) truncateSync(path, size)
}
