import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { BackupError } from '../../../src/jobs/backup/backup-error.ts'
import { type BackupTarget, checkPath, checkPrefix } from '../../../src/jobs/backup/target.ts'

/** A target for tests that are about what is in it, and change it. */
export class MemoryTarget implements BackupTarget {
  readonly name = 'memory'
  readonly files = new Map<string, Buffer>()

  async write(path: string, body: Readable | Uint8Array) {
    checkPath(path)
    const bytes = body instanceof Uint8Array ? Buffer.from(body) : await buffer(body)
    this.files.set(path, bytes)
    return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  }

  async read(path: string) {
    checkPath(path)
    const bytes = this.files.get(path)
    if (!bytes) throw new BackupError('MissingBackupFile', `${path} is missing in memory`)
    return Readable.from([bytes])
  }

  async exists(path: string) {
    return this.files.get(path)?.length ?? null
  }

  async *list(prefix: string) {
    checkPrefix(prefix)
    for (const [path, { length: size }] of [...this.files]) {
      if (path.startsWith(prefix)) yield { path, size, modifiedAt: new Date(0) }
    }
  }

  async folders() {
    const inFolders = [...this.files.keys()].filter((path) => path.includes('/'))
    return [...new Set(inFolders.map((path) => path.slice(0, path.indexOf('/'))))]
  }

  async remove(path: string) {
    this.files.delete(path)
  }

  async removeAll(prefix: string) {
    for await (const { path } of this.list(prefix)) this.files.delete(path)
  }

  async removeUnfinished() {}
  async check() {}
  async close() {}
}
