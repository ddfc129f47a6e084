/**
 * Under which user PostgreSQL runs, and what that user may reach.
 *
 * PostgreSQL refuses to run as root, as which containers and small machines often run everything. So a
 * root server lends it another user; any other server runs it as itself.
 */

import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { EmbeddedPostgresError } from './embedded-error.ts'

export interface Account {
  uid: number
  gid: number
}

/** Bits to ask `allows` for. */
export const READ = 4
export const SEARCH = 1

export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/**
 * The user for the cluster at `clusterDir`: ourselves, or, when we are root, the owner of an existing
 * cluster, else the system's `postgres`, else `nobody`.
 *
 * @throws EmbeddedPostgresError when root finds none of them
 */
export async function accountFor(clusterDir: string): Promise<Account> {
  if (!isRoot()) return { uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 }
  const known = parsePasswd(await readFile('/etc/passwd', 'utf8'))
  const owner = await stat(join(clusterDir, 'PG_VERSION'))
    .then(() => stat(clusterDir))
    .catch(() => undefined)
  if (owner !== undefined && owner.uid !== 0) {
    return { uid: owner.uid, gid: known.find((user) => user.uid === owner.uid)?.gid ?? owner.gid }
  }
  const user = known.find(({ name }) => name === 'postgres') ?? known.find(({ name }) => name === 'nobody')
  if (user !== undefined && user.uid !== 0) return { uid: user.uid, gid: user.gid }
  throw new EmbeddedPostgresError(
    'PostgreSQL refuses to run as root, and this system has neither a postgres nor a nobody user: run Strongroom as an ordinary user, or set DATABASE_URL',
  )
}

/** What `spawn` needs to run something as `account`. Switching also drops our supplementary groups. */
export function runAs(account: Account): Partial<Account> {
  return isRoot() ? { uid: account.uid, gid: account.gid } : {}
}

/** Whether the mode bits give `account` all of `wanted`. Other rules (ACLs, SELinux) are not looked at. */
export function allows(file: { uid: number; gid: number; mode: number }, account: Account, wanted: number) {
  if (account.uid === 0) return true
  // The first class that fits decides alone: an owner without the bit is refused even if others have it.
  const shift = file.uid === account.uid ? 6 : file.gid === account.gid ? 3 : 0
  return ((file.mode >> shift) & wanted) === wanted
}

/** Whether `account` may walk from the root into `folder`, a real path. */
export async function canReach(account: Account, folder: string): Promise<boolean> {
  if (!allows(await stat(folder), account, SEARCH)) return false
  const parent = dirname(folder)
  return parent === folder || (await canReach(account, parent))
}

function parsePasswd(text: string): (Account & { name: string })[] {
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .filter((fields) => fields.length >= 4)
    .map((fields) => ({ name: fields[0] ?? '', uid: Number(fields[2]), gid: Number(fields[3]) }))
}
