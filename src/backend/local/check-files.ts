import { lstat, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { UnfinishedCheck } from '../backend.ts'
import { isCheckName, newCheckName } from '../check-name.ts'
import { unusable } from '../file-errors.ts'
import type { Files } from './files.ts'

/**
 * Files of a few bytes by which it is found out whether files can be written.
 *
 *     <root>/objects/.check-<uuid>
 */
export class CheckFiles {
  readonly #files: Files

  constructor(files: Files) {
    this.#files = files
  }

  /** As `Backend.check`. */
  async run(): Promise<void> {
    const name = newCheckName()
    const path = this.#path(name)
    try {
      await this.#files.orRemove(path, async () => {
        await writeFile(path, name, { flag: 'wx', mode: 0o600 })
        if ((await readFile(path, 'utf8')) !== name) throw new Error('A file was not read as it was written')
        await unlink(path)
      })
    } catch (error) {
      throw unusable(error)
    }
  }

  /** All that there are, of checks that run now and of those that were killed. */
  async *list(): AsyncGenerator<UnfinishedCheck> {
    for await (const id of this.#files.names(this.#files.folders.top)) {
      if (!isCheckName(id)) continue
      const file = await this.#files.ifThere(() => lstat(this.#path(id)))
      if (file?.isFile()) yield { location: null, id, startedAt: file.mtime }
    }
  }

  /** Removes what `list` has named. */
  async abandon(id: string): Promise<void> {
    await this.#files.remove(this.#path(id))
  }

  #path(name: string): string {
    if (!isCheckName(name)) throw new Error(`Not the name of a check: ${name}`)
    return join(this.#files.folders.top, name)
  }
}
