import type { Readable } from 'node:stream'
import { EntryWriter, FILES, type FileEntry } from './entries.ts'
import { LineWriter } from './lines.ts'
import type { BackupTarget, WrittenFile } from './target.ts'

/** The files of a backup that is being made, but bytes of versions: written, and then listed with their hashes. */
export class WrittenFiles {
  readonly #entries: FileEntry[] = []

  /** @param id of the backup */
  constructor(
    private readonly target: BackupTarget,
    private readonly id: string,
  ) {}

  get count(): number {
    return this.#entries.length
  }

  /** @param path from the folder of the backup on */
  async write(path: string, body: Readable | Uint8Array): Promise<void> {
    this.add(path, await this.target.write(`${this.id}/${path}`, body))
  }

  /** A file of lines, to be added when it has ended. */
  lines(path: string): LineWriter {
    return new LineWriter(this.target, `${this.id}/${path}`)
  }

  /** Lists one that is written. */
  add(path: string, written: WrittenFile): void {
    this.#entries.push({ path, ...written })
  }

  async writeList(): Promise<WrittenFile> {
    const list = new EntryWriter<FileEntry>(this.target, `${this.id}/${FILES}`)
    try {
      const sorted = this.#entries.sort((a, b) => (a.path < b.path ? -1 : 1))
      for (const file of sorted) await list.add(file)
      return await list.end()
    } catch (error) {
      await list.abort()
      throw error
    }
  }
}
