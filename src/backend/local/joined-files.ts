import { type FileHandle, lstat, open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { StorageError } from '../../model/errors.ts'
import { errno, mapped } from '../file-errors.ts'
import type { ReadableFile } from './file-stream.ts'
import { type Files, orMissing, writeAll } from './files.ts'

/** Of the file of a part. */
export const PART_NAME = /^\d{1,5}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** A file of which a version consists, among others. */
export interface Piece {
  /** In the version's folder. */
  name: string
  /** Its first bytes, so many. */
  size: number
}

/**
 * A version that consists of several files: a folder under the version's name, with the files and a list of them. It comes
 * about by one `rename`, and nothing of it is copied (decision 0051).
 *
 *     <version>/0-<version>           the list, as JSON
 *     <version>/<number>-<uuid>       a part each
 *
 * What is in the folder and not on the list means nothing. Without its list a version is not there: its removal begins with
 * that, and a crash can leave the rest, which is listed as a version without bytes.
 */
export class JoinedFiles {
  readonly #files: Files

  constructor(files: Files) {
    this.#files = files
  }

  /**
   * Makes a version of files in a folder, whose name it takes; what else is in there goes. All or nothing; doing it again
   * is a success as long as the folder is there. The name is not flushed.
   *
   * @param target the version's path
   * @throws MissingBytes when one is not there, or too short
   */
  async join(folder: string, pieces: Piece[], target: string): Promise<void> {
    for (const { name, size } of pieces) {
      const file = orMissing(await this.#files.ifThere(() => lstat(join(folder, name))))
      if (file.size < size) throw new StorageError('MissingBytes')
    }
    const known = new Set([nameOf(target), ...pieces.map(({ name }) => name)])
    for await (const name of this.#files.names(folder)) {
      if (!known.has(name)) await this.#files.remove(join(folder, name))
    }
    // Last, since this flushes the folder: what was removed would come back for as long as the version lives.
    await this.#write(folder, pieces, target)
    await mapped(this.#files.folders.holding(target, () => rename(folder, target)))
  }

  /** Opens the version at `path`, which is a folder. @throws MissingBytes */
  async open(path: string): Promise<JoinedFile> {
    return new JoinedFile(path, orMissing(await this.#pieces(path)))
  }

  /** In bytes; null without a list. */
  async size(path: string): Promise<number | null> {
    const pieces = await this.#pieces(path)
    return pieces ? sizeOf(pieces) : null
  }

  /** The same of what may be a version; 0 where a removal has not come to its end, null for a folder that is none. */
  async listedSize(path: string): Promise<number | null> {
    const size = await this.size(path)
    if (size !== null) return size
    for await (const name of this.#files.names(path)) if (PART_NAME.test(name)) return 0
    return null
  }

  /**
   * Gives a version other names for the same files; copies those that can have none. The version's name is not flushed.
   *
   * @param draft a folder that is not there, for the time that it takes
   * @throws MissingBytes
   */
  async copy(path: string, draft: string, target: string): Promise<void> {
    const pieces = orMissing(await this.#pieces(path))
    try {
      for (const { name } of pieces) {
        const [from, to] = [join(path, name), join(draft, name)]
        if (!(await this.#files.link(from, to))) await this.#files.copyBytes(from, to)
      }
      await this.join(draft, pieces, target)
    } catch (error) {
      await this.remove(draft).catch(() => {}) // the cleanup finds it
      throw error
    }
  }

  /** Removes the version, its list first. */
  async remove(path: string): Promise<void> {
    await this.#files.remove(listOf(path))
    for await (const name of this.#files.names(path)) await this.#files.remove(join(path, name))
    await this.#files.removeIfEmpty(path)
  }

  async #write(folder: string, pieces: Piece[], target: string): Promise<void> {
    const path = join(folder, nameOf(target))
    await this.#files.remove(path) // one that a crash has left may be cut short
    await this.#files.create(path, (file) => writeAll(file, [Buffer.from(JSON.stringify(pieces))], 0))
  }

  async #pieces(path: string): Promise<Piece[] | undefined> {
    const text = await this.#files.ifThere(() => readFile(listOf(path), 'utf8'))
    return text === undefined ? undefined : (JSON.parse(text) as Piece[]) // ours: nobody else writes there
  }
}

/** The files of a version, read as one. */
export class JoinedFile implements ReadableFile {
  readonly size: number
  readonly #folder: string
  readonly #pieces: (Piece & { start: number })[] = []
  #current: { piece: Piece; file: FileHandle } | undefined

  constructor(folder: string, pieces: Piece[]) {
    this.#folder = folder
    let start = 0
    for (const piece of pieces) {
      this.#pieces.push({ ...piece, start })
      start += piece.size
    }
    this.size = start
  }

  /** As `FileHandle.read`; no bytes behind the end, and where a file is too short. */
  async read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number }> {
    const piece = this.#pieceAt(position)
    if (!piece) return { bytesRead: 0 }
    const file = await this.#open(piece)
    const within = position - piece.start
    return file.read(buffer, offset, Math.min(length, piece.size - within), within)
  }

  /** The first that ends behind a position, by halving: there may be ten thousand. Undefined behind the end of all. */
  #pieceAt(position: number): (Piece & { start: number }) | undefined {
    let [from, to] = [0, this.#pieces.length]
    while (from < to) {
      const middle = Math.floor((from + to) / 2)
      const { start = 0, size = 0 } = this.#pieces[middle] ?? {}
      if (position < start + size) to = middle
      else from = middle + 1
    }
    return this.#pieces[from]
  }

  async close(): Promise<void> {
    await this.#current?.file.close()
    this.#current = undefined
  }

  async #open(piece: Piece): Promise<FileHandle> {
    if (this.#current?.piece === piece) return this.#current.file
    await this.close()
    const file = await open(join(this.#folder, piece.name), 'r')
    this.#current = { piece, file }
    return file
  }
}

/** Whether something failed because it is no file but a folder. */
export function isFolder(error: unknown): boolean {
  return ['EISDIR', 'EPERM'].includes(errno(error))
}

function listOf(path: string): string {
  return join(path, nameOf(path))
}

/** Of the list of the version at `target`. */
function nameOf(target: string): string {
  return `0-${target.slice(dirname(target).length + 1)}`
}

function sizeOf(pieces: Piece[]): number {
  return pieces.reduce((sum, { size }) => sum + size, 0)
}
