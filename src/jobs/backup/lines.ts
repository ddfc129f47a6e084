import { once } from 'node:events'
import { PassThrough, type Readable } from 'node:stream'
import { BackupError } from './backup-error.ts'
import type { BackupTarget, WrittenFile } from './target.ts'

/** The longest line that is written, and so the longest that is read: a row of PostgreSQL with large values. In bytes. */
export const MAX_LINE = 256 * 1024 * 1024

/** Lines are gathered until they have this many characters: a chunk for each would cost more than the line. */
const BATCH = 64 * 1024

/** Writes a file of lines while they come; never more of them in memory than the target is behind. Ends with `end` or `abort`. */
export class LineWriter {
  readonly #stream = new PassThrough({ highWaterMark: 4 * BATCH })
  readonly #written: Promise<WrittenFile>
  #batch: string[] = []
  #gathered = 0
  #lines = 0

  constructor(
    target: BackupTarget,
    readonly path: string,
  ) {
    this.#written = target.write(path, this.#stream)
    this.#written.catch((error) => this.#stream.destroy(error)) // it is told by `add` or `end`
    this.#stream.on('error', () => {})
  }

  /** How many lines it has. */
  get lines(): number {
    return this.#lines
  }

  /**
   * @param line without its end
   * @returns a promise when the target is behind: it is to be waited for, and rejects as `write` of the target does
   */
  add(line: string): Promise<void> | undefined {
    if (line.length > MAX_LINE / 4) this.#refuseLong(line)
    this.#batch.push(line, '\n')
    this.#gathered += line.length
    this.#lines++
    return this.#gathered < BATCH ? undefined : this.#flush()
  }

  /** Resolves once the file is durable. @throws as `write` of the target does */
  async end(): Promise<WrittenFile & { lines: number }> {
    if (this.#batch.length > 0) this.#stream.write(this.#batch.join(''))
    this.#stream.end()
    return { ...(await this.#written), lines: this.#lines }
  }

  /** Gives the file up: nothing of it is left. Harmless when it has failed by itself. */
  async abort(): Promise<void> {
    this.#stream.destroy(new Error(`${this.path} was given up`))
    await this.#written.catch(() => {})
  }

  #flush(): Promise<void> | undefined {
    const hasRoom = this.#stream.write(this.#batch.join(''))
    this.#batch = []
    this.#gathered = 0
    return hasRoom ? undefined : this.#room()
  }

  async #room(): Promise<void> {
    if (this.#stream.destroyed) await this.#written // and rejects
    await Promise.race([once(this.#stream, 'drain'), this.#written])
  }

  #refuseLong(line: string): void {
    if (Buffer.byteLength(line) > MAX_LINE)
      throw new Error(`A line of ${this.path} has more than ${MAX_LINE} bytes`)
  }
}

/**
 * The lines of a stream of UTF-8, without their ends; one that is not ended at the end of the file is a line too.
 *
 * @param path for the error's sentence
 * @throws DamagedBackup for a line that is too long
 */
export async function* readLines(body: Readable, path: string, maxLine = MAX_LINE): AsyncGenerator<string> {
  let begun: Buffer[] = [] // of a line whose end has not come
  let length = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      if (begun.length === 0) {
        yield chunk.toString('utf8', start, end)
      } else {
        begun.push(chunk.subarray(start, end))
        const line = Buffer.concat(begun).toString()
        begun = []
        length = 0
        yield line
      }
      start = end + 1
    }
    if (start === chunk.length) continue
    begun.push(chunk.subarray(start))
    length += chunk.length - start
    if (length > maxLine)
      throw new BackupError('DamagedBackup', `${path} has a line of more than ${maxLine} bytes`)
  }
  if (begun.length > 0) yield Buffer.concat(begun).toString()
}

const NEWLINE = 0x0a
