import type { FileHandle } from 'node:fs/promises'

/** How long a file waits for its next chunk. In milliseconds. */
const OPEN_MS = 100

/** Most that wait at once, since a process may have few files. */
const MOST = 32

/** Files between two chunks that are written to them: the next one need not open its file. All of them are flushed. */
export class OpenFiles {
  readonly #files = new Map<string, { file: FileHandle; timer: NodeJS.Timeout }>()

  /** Closes it after a moment, or at once when there are too many. */
  keep(path: string, file: FileHandle): void {
    void this.drop(path)
    if (this.#files.size >= MOST) return void file.close().catch(ignore)
    const timer = setTimeout(() => void this.drop(path), OPEN_MS).unref()
    this.#files.set(path, { file, timer })
  }

  /** The file at `path` and its length in bytes; undefined when it is not open, or no longer the one there. */
  async take(path: string): Promise<{ file: FileHandle; size: number } | undefined> {
    const file = this.#remove(path)
    if (!file) return undefined
    try {
      const { size, nlink } = await file.stat()
      if (nlink > 0) return { file, size }
    } catch {
      // it is opened anew, and says why
    }
    await file.close().catch(ignore)
    return undefined
  }

  /** Closes it, if it is open. */
  async drop(path: string): Promise<void> {
    await this.#remove(path)?.close().catch(ignore)
  }

  async dropAll(): Promise<void> {
    await Promise.all([...this.#files.keys()].map((path) => this.drop(path)))
  }

  #remove(path: string): FileHandle | undefined {
    const open = this.#files.get(path)
    clearTimeout(open?.timer)
    this.#files.delete(path)
    return open?.file
  }
}

const ignore = () => {}
