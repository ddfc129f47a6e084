import { basename, dirname } from 'node:path'
import type { Call, JournalRecord, Outcome } from './journal.ts'

/** A file's bytes, whatever names they have. They are only ever appended to. */
export class DiskFile {
  /** Bytes whose writing has ended. */
  written: number
  /** Whether a write was running in the end. */
  isBeingWritten = false

  constructor(
    /** Another name of the file, where it outlives its removal. */
    readonly shadow: string,
    /** Bytes that a power failure leaves. */
    public flushed: number,
  ) {
    this.written = flushed
  }

  /** What is written behind that is not flushed yet, though there were bytes that were. */
  truncate(length: number): void {
    if (length > this.written) throw new Error('The disk model knows no files that grow by this: teach it')
    this.written = length
    this.flushed = Math.min(this.flushed, length)
  }
}

/** Names that appear (or, null, disappear) in a folder by one call. */
export type Change = ReadonlyMap<string, DiskNode | null>

/**
 * What was in a folder has a name in another one now. It keeps the old one until the new one is durable: of a rename that
 * is half done POSIX says nothing, and no disk loses both.
 */
class Departure extends Map<string, null> {
  constructor(
    name: string,
    private readonly to: DiskFolder,
    private readonly arrival: Change,
  ) {
    super([[name, null]])
  }

  get mustWait(): boolean {
    return [...this.to.unflushed, ...this.to.inDoubt].includes(this.arrival)
  }
}

/** Whether it cannot be on the disk, since another change is not. */
export function mustWait(change: Change): boolean {
  return change instanceof Departure && change.mustWait
}

export class DiskFolder {
  /** As every process sees it. */
  readonly names = new Map<string, DiskNode>()
  /** As a power failure leaves it. */
  readonly flushedNames = new Map<string, DiskNode>()
  /** The difference between the two, in order. */
  unflushed: Change[] = []
  /** Calls that were running in the end, of which nobody knows. */
  readonly inDoubt: Change[] = []

  /** A name that was there before, and is durable. */
  add(name: string, node: DiskNode): void {
    this.names.set(name, node)
    this.flushedNames.set(name, node)
  }

  change(change: Change): void {
    put(this.names, change)
    this.unflushed.push(change)
  }

  /** Makes the first of the unflushed changes durable, unless another flush has done it meanwhile. */
  flush(covered: Change[]): void {
    const flushed = covered.filter((change) => !mustWait(change))
    for (const change of flushed) if (this.unflushed.includes(change)) put(this.flushedNames, change)
    this.unflushed = this.unflushed.filter((change) => !flushed.includes(change))
  }
}

export type DiskNode = DiskFile | DiskFolder

export function put(names: Map<string, DiskNode>, change: Change): void {
  for (const [name, node] of change) {
    if (node === null) names.delete(name)
    else names.set(name, node)
  }
}

/**
 * What a disk holds and what of it would survive a power failure, by the rules that POSIX promises and no more: the
 * bytes of a file are safe once it is flushed, and a name, or its removal, once the folder that has it is flushed.
 * A flush covers what had ended when it began.
 */
export class Disk {
  readonly #running = new Map<string, Call>()
  /** What each call has opened. */
  readonly #opened = new Map<string, DiskNode>()
  /** Folders that were found before the call that made them has ended. */
  readonly #proved = new Set<string>()
  /** What each running flush will have made durable. */
  readonly #flushes = new Map<string, () => void>()

  constructor(
    /** Its absolute path. */
    readonly path: string,
    readonly root: DiskFolder,
  ) {}

  replay(records: JournalRecord[]): void {
    for (const record of records) {
      if ('call' in record) this.#begin(record)
      else this.#end(record)
    }
    for (const call of this.#running.values()) this.#leaveInDoubt(call)
  }

  #begin(call: Call): void {
    this.#running.set(call.id, call)
    if (call.call !== 'sync') return
    const node = this.#opened.get(call.of)
    if (node instanceof DiskFile) {
      const { written } = node
      this.#flushes.set(call.id, () => {
        node.flushed = Math.max(node.flushed, written)
      })
    } else if (node instanceof DiskFolder) {
      const covered = [...node.unflushed]
      this.#flushes.set(call.id, () => node.flush(covered))
    }
  }

  #end(outcome: Outcome): void {
    const call = this.#running.get(outcome.id)
    if (call === undefined) throw new Error(`The journal has the end of ${outcome.id} and not its beginning`)
    this.#running.delete(outcome.id)
    if ('result' in outcome) this.#apply(call, outcome.result)
    else if (call.call === 'mkdir' && outcome.error === 'EEXIST') this.#find(call.path)
  }

  #apply(call: Call, result: number | string | null): void {
    switch (call.call) {
      case 'create': {
        const file = new DiskFile(call.id, 0)
        file.written = Number(result)
        this.#opened.set(call.id, file)
        this.#change(call.path, file)
        return
      }
      case 'open': {
        const node = this.#find(call.path)
        if (node !== undefined) this.#opened.set(call.id, node)
        return
      }
      case 'mkdir': {
        const made: string[] = []
        for (let path = call.path; result !== null; path = dirname(path)) {
          made.unshift(path)
          if (path === result) break
        }
        for (const path of made) if (!this.#proved.delete(path)) this.#change(path, new DiskFolder())
        return
      }
      case 'link':
        this.#change(call.to, this.#find(call.path) ?? null)
        return
      case 'rename':
        for (const [folder, change] of this.#renaming(call.path, call.to)) folder.change(change)
        return
      case 'remove':
        if (this.#find(call.path) !== undefined) this.#change(call.path, null)
        return
      case 'write': {
        const file = this.#opened.get(call.of)
        if (file instanceof DiskFile) file.written += Number(result)
        return
      }
      case 'sync':
        this.#flushes.get(call.id)?.()
        return
      case 'truncate': {
        const file = this.#opened.get(call.of)
        if (file instanceof DiskFile) file.truncate(call.length)
        return
      }
    }
  }

  /** What a rename changes, in which folders. */
  *#renaming(from: string, to: string): Generator<[DiskFolder, Change]> {
    const node = this.#find(from)
    const [source, target] = [this.#find(dirname(from)), this.#find(dirname(to))]
    if (node === undefined || !(source instanceof DiskFolder) || !(target instanceof DiskFolder)) return
    const arrival = new Map<string, DiskNode | null>([[basename(to), node]])
    if (source === target) arrival.set(basename(from), null)
    else yield [source, new Departure(basename(from), target, arrival)]
    yield [target, arrival]
  }

  #leaveInDoubt(call: Call): void {
    const doubt = (path: string, node: DiskNode | null) => {
      const folder = this.#lookUp(dirname(path))
      if (node !== null && this.#lookUp(path) !== undefined) return // it was about to fail: the name is taken
      if (folder instanceof DiskFolder) folder.inDoubt.push(new Map([[basename(path), node]]))
    }
    if (call.call === 'write' || call.call === 'truncate') {
      const file = this.#opened.get(call.of)
      if (!(file instanceof DiskFile)) return
      file.isBeingWritten = true
      if (call.call === 'truncate') file.truncate(call.length)
    } else if (call.call === 'create') {
      const file = new DiskFile(call.id, 0)
      file.isBeingWritten = true
      doubt(call.path, file)
    } else if (call.call === 'mkdir') {
      doubt(call.path, new DiskFolder())
    } else if (call.call === 'link') {
      const node = this.#lookUp(call.path)
      if (node !== undefined) doubt(call.to, node)
    } else if (call.call === 'rename') {
      for (const [folder, change] of this.#renaming(call.path, call.to)) folder.inDoubt.push(change)
    } else if (call.call === 'remove') {
      doubt(call.path, null)
    }
  }

  #change(path: string, node: DiskNode | null): void {
    const folder = this.#find(dirname(path))
    if (folder instanceof DiskFolder) folder.change(new Map([[basename(path), node]]))
  }

  /** What is at `path`. A folder that somebody else finds is there, even if its maker has not heard of it yet. */
  #find(path: string): DiskNode | undefined {
    const found = this.#lookUp(path)
    if (found !== undefined || path === dirname(path)) return found
    const isBeingMade = [...this.#running.values()].some(
      (call) => call.call === 'mkdir' && call.path === path,
    )
    if (!isBeingMade) return undefined
    this.#proved.add(path)
    this.#change(path, new DiskFolder())
    return this.#lookUp(path)
  }

  #lookUp(path: string): DiskNode | undefined {
    if (path === this.path) return this.root
    const parent = path.startsWith(this.path) ? this.#lookUp(dirname(path)) : undefined
    return parent instanceof DiskFolder ? parent.names.get(basename(path)) : undefined
  }
}
