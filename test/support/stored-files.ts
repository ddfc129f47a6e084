import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestServer } from './server.ts'

/** Files under the data folder that this process, which the server runs in, holds open. */
export async function openFiles({ dataDir }: TestServer): Promise<string[]> {
  const targets = await Promise.all(
    // A descriptor may close while we look.
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return targets.filter((target) => target.startsWith(dataDir))
}

/** Where the bytes of an object are on the disk. */
export async function pathOf({ admin, dataDir }: TestServer, name: string): Promise<string> {
  const [row] = await admin`select bytes_bucket, version from storage.objects where name = ${name}`
  return join(dataDir, 'objects', row?.bytes_bucket, row?.version.slice(0, 2), row?.version)
}
