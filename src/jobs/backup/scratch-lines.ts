import { randomUUID } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { readLines } from './lines.ts'

/** So many characters are written at once. */
const BATCH = 256 * 1024

/**
 * A list that is written once and then read, too long for memory. Its file has no name from the beginning on, so that a
 * killed process leaves none.
 */
export class ScratchLines<T> {
  #batch: string[] = []
  #gathered = 0
  #length = 0

  private constructor(private readonly file: FileHandle) {}

  /** @param folder where there is room for it */
  static async open<T>(folder: string): Promise<ScratchLines<T>> {
    const path = join(folder, `.scratch-${randomUUID()}`)
    const file = await open(path, 'wx+', 0o600)
    await unlink(path)
    return new ScratchLines<T>(file)
  }

  /** How many there are. */
  get length(): number {
    return this.#length
  }

  async add(value: T): Promise<void> {
    const line = `${JSON.stringify(value)}\n`
    this.#batch.push(line)
    this.#gathered += line.length
    this.#length++
    if (this.#gathered >= BATCH) await this.#write()
  }

  /** All of them, in their order. Nothing is to be added any more. */
  async *read(): AsyncGenerator<T> {
    await this.#write()
    const stream = this.file.createReadStream({ start: 0, autoClose: false })
    for await (const line of readLines(stream, 'a scratch file')) yield JSON.parse(line) as T
  }

  close(): Promise<void> {
    return this.file.close()
  }

  async #write(): Promise<void> {
    const text = this.#batch.join('')
    this.#batch = []
    this.#gathered = 0
    if (text !== '') await this.file.appendFile(text)
  }
}
