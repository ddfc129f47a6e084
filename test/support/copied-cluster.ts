import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CopiedFile } from '../../src/database/embedded/recovery.ts'

/** For `copyOnline`: writes what it is given below a folder, and does not wait for the disk. */
export function writeTo(folder: string): (path: string, content: Readable) => Promise<void> {
  return async (path, content) => {
    const file = join(folder, path)
    await mkdir(dirname(file), { recursive: true })
    await pipeline(content, createWriteStream(file, { flags: 'wx' }))
  }
}

/** For `recoverCluster`: what `writeTo` has written of the database. */
export async function* copiedFiles(folder: string): AsyncGenerator<CopiedFile> {
  const root = join(folder, 'database')
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = join(entry.parentPath, entry.name)
    yield { path: file.slice(root.length + 1), open: async () => createReadStream(file) }
  }
}

/** The same of the log, or of another folder of segments. */
export function copiedLog(folder: string): (name: string) => Promise<Readable | null> {
  return async (name) => {
    const isThere = (await readdir(folder)).includes(name)
    return isThere ? createReadStream(join(folder, name)) : null
  }
}
