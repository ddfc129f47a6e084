import { open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { flushFile, flushPath } from '../lib/fsync.ts'
import { makeFolders } from '../lib/make-folders.ts'
import { uuidV7 } from '../lib/uuid.ts'
import type { AuditEntry } from './audit-entry.ts'

/** The end of a file's name that is complete. */
const WHOLE = '.ndjson'

/**
 * Entries that the database does not take at the moment, in files of the data folder. A file is complete or not there, and
 * never changed: whichever process finds one may write what it has into the database, and remove it. Two that do so at the
 * same moment write the same entries, which are there once.
 */
export class AuditFiles {
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Keeps entries in a file of their own. Resolves once they would survive a crash. @throws what the file system says */
  async keep(entries: AuditEntry[]): Promise<void> {
    makeFolders(this.#folder, 0o700)
    const path = join(this.#folder, uuidV7())
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
      await flushFile(file)
    } catch (error) {
      await rm(path, { force: true })
      throw error
    } finally {
      await file.close()
    }
    await rename(path, path + WHOLE)
    await flushPath(this.#folder)
  }

  /** Gives what is kept to `write`, the oldest file first, and removes what it has taken. @throws what `write` throws */
  async restore(write: (entries: AuditEntry[]) => Promise<void>): Promise<void> {
    const names = await readdir(this.#folder).catch(() => [])
    for (const name of names.filter((name) => name.endsWith(WHOLE)).sort()) {
      const path = join(this.#folder, name)
      const text = await readFile(path, 'utf8').catch(() => '') // another process was faster
      const lines = text.split('\n').filter((line) => line !== '')
      await write(lines.map((line) => JSON.parse(line) as AuditEntry))
      await rm(path, { force: true })
    }
  }
}
