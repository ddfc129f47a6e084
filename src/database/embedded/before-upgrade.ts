/**
 * The cluster as it was before tables were migrated, beside it as `<folder>.before-upgrade`: what `strongroom rollback` brings back.
 * It shares its blocks with the cluster where the file system can do that, and is a copy elsewhere.
 */

import { constants, existsSync } from 'node:fs'
import { copyFile, lstat, mkdir, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { forEachConcurrent } from '../../lib/concurrency.ts'
import { flushPath } from '../../lib/fsync.ts'
import { makeFolder } from './atomic-folder.ts'
import { nextCluster, swapIn } from './next-cluster.ts'
import { readPostmasterFile } from './postmaster.ts'

/** What is known of it. */
export interface BeforeUpgrade {
  /** What its tables are like, such as `0036_sweeps`. */
  schema: string
  /** When it was made, RFC 3339. */
  madeAt: string
  /** In bytes. */
  size: number
  /** The last transaction of the upgrade, as PostgreSQL counts them; missing until that has ended. */
  upgradedBy?: string
}

/** What a copy may take where blocks are not shared, in bytes: it is made before the server answers. */
const LARGEST_COPY = 4e9

/** Files at once. */
const AT_ONCE = 8

const NOTE = 'strongroom-before-upgrade.json'

/** Not a part of what was stored: of the PostgreSQL that ran, and of the one that has its log there. */
const LEFT_OUT = /^(?:postmaster\.(?:pid|opts)|server\.log.*|\.s\.PGSQL\..*)$/

export function beforeUpgrade(folder: string): string {
  return `${folder}.before-upgrade`
}

/**
 * Keeps a cluster that does not run as it is, in the place of what was kept before.
 *
 * @param folder a real path
 * @returns undefined, or why it cannot be kept, as the rest of a sentence
 */
export async function keepCluster(folder: string, schema: string): Promise<string | undefined> {
  const kept = beforeUpgrade(folder)
  await rm(kept, { recursive: true, force: true })
  const files = await listFiles(folder)
  if (files.links > 0) return 'it has links to other places in it'
  const isShared = await sharesBlocks(folder)
  const { bavail, bsize } = await statfs(folder)
  if (!isShared && files.size > LARGEST_COPY) return `a copy would take ${Math.round(files.size / 1e9)} GB`
  if (!isShared && files.size > (bavail * bsize) / 2) return 'the disk has no room for a copy'
  await makeFolder(kept, async (unfinished) => {
    for (const name of files.folders) await mkdir(join(unfinished, name), { mode: 0o700 })
    await forEachConcurrent(AT_ONCE, files.names, async (name) => {
      await copyFile(join(folder, name), join(unfinished, name), constants.COPYFILE_FICLONE)
      await flushPath(join(unfinished, name))
    })
    await forEachConcurrent(AT_ONCE, files.folders, (name) => flushPath(join(unfinished, name)))
    await note(unfinished, { schema, madeAt: new Date().toISOString(), size: files.size })
    await flushPath(unfinished)
  })
  // Another server that has started it meanwhile has changed it under our hands.
  if ((await readPostmasterFile(folder)) === undefined) return undefined
  await rm(kept, { recursive: true, force: true })
  return 'another server has started it'
}

/** Undefined when nothing is kept. */
export async function readKept(folder: string): Promise<BeforeUpgrade | undefined> {
  const text = await readFile(join(beforeUpgrade(folder), NOTE), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as BeforeUpgrade)
}

/** @param upgradedBy the last transaction of the upgrade */
export async function noteUpgraded(folder: string, kept: BeforeUpgrade, upgradedBy: string): Promise<void> {
  await note(beforeUpgrade(folder), { ...kept, upgradedBy })
}

export async function forgetKept(folder: string): Promise<void> {
  await rm(beforeUpgrade(folder), { recursive: true, force: true })
}

/** Puts what was kept in the place of the cluster, which is removed. Neither may run. */
export async function bringBack(folder: string): Promise<void> {
  const next = nextCluster(folder)
  await rm(next, { recursive: true, force: true })
  await rename(beforeUpgrade(folder), next)
  await rm(join(next, NOTE), { force: true })
  const former = await swapIn(folder)
  if (former !== undefined) await rm(former, { recursive: true, force: true })
}

/** Whole or as it was. */
async function note(kept: string, about: BeforeUpgrade): Promise<void> {
  const draft = join(kept, `${NOTE}.draft`)
  await writeFile(draft, `${JSON.stringify(about)}\n`)
  await flushPath(draft)
  await rename(draft, join(kept, NOTE))
}

interface Files {
  /** From the folder on; a folder comes before what is in it. */
  folders: string[]
  names: string[]
  /** In bytes. */
  size: number
  links: number
}

async function listFiles(folder: string): Promise<Files> {
  const files: Files = { folders: [], names: [], size: 0, links: 0 }
  const list = async (below: string) => {
    for (const entry of await readdir(join(folder, below), { withFileTypes: true })) {
      const name = join(below, entry.name)
      if (below === '' && LEFT_OUT.test(entry.name)) continue
      if (entry.isSymbolicLink()) files.links++
      if (entry.isDirectory()) {
        files.folders.push(name)
        await list(name)
      } else if (entry.isFile()) {
        files.names.push(name)
        files.size += (await lstat(join(folder, name))).size
      }
    }
  }
  await list('')
  return files
}

/** Whether a copy costs no room. */
async function sharesBlocks(folder: string): Promise<boolean> {
  const probe = join(folder, 'strongroom-probe')
  try {
    await copyFile(join(folder, 'PG_VERSION'), probe, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch {
    return false
  } finally {
    if (existsSync(probe)) await rm(probe, { force: true })
  }
}
