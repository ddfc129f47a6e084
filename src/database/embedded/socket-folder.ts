import { chown, lstat, mkdir, realpath } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { shortHash } from './short-hash.ts'
import { type Account, canReach, isRoot } from './system-account.ts'

/** Longest path of a unix socket in bytes: `sun_path` in sys/un.h, less its final zero. */
const LONGEST = process.platform === 'linux' ? 107 : 103

/**
 * Folder for the socket of the cluster at `folder` (a real path): the cluster itself, which is private, or,
 * if that path is too long for a socket, a private folder among the temporary files.
 *
 * @throws EmbeddedPostgresError when another user has planted something there
 */
export async function socketFolder(folder: string, port: number, account: Account): Promise<string> {
  const fits = (path: string) => Buffer.byteLength(join(path, `.s.PGSQL.${port}`)) <= LONGEST
  if (fits(folder)) return folder
  for (const parent of [tmpdir(), '/tmp']) {
    const real = await realpath(parent).catch(() => undefined)
    const path = join(real ?? parent, `strongroom-${shortHash(folder)}`)
    if (real === undefined || !fits(path) || (isRoot() && !(await canReach(account, real)))) continue
    await makePrivateFolder(path, account)
    return path
  }
  throw new EmbeddedPostgresError(
    `The path ${folder} is too long for a socket and no temporary folder can be used: choose a shorter STORAGE_DATA_DIR`,
  )
}

async function makePrivateFolder(path: string, account: Account): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
    if (isRoot()) await chown(path, account.uid, account.gid)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  // Anybody may write to the temporary folder: through a link or folder of theirs, they could answer as our database.
  const found = await lstat(path)
  if (found.isDirectory() && found.uid === account.uid && (found.mode & 0o077) === 0) return
  throw new EmbeddedPostgresError(
    `${path} should be a private folder of user ${account.uid}, and is not: look who made it, then remove it`,
  )
}
