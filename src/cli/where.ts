import type { Stats } from 'node:fs'
import { lstat, readdir, readFile, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { readConfig } from '../config/config.ts'
import { NOTE } from '../database/embedded/cluster-folder.ts'
import { SYSTEM_CACHE, SYSTEM_LIBRARY } from '../database/embedded/embedded-postgres.ts'
import { formatByteSize } from '../lib/units.ts'
import { systemReason } from '../model/system-reason.ts'
import { Progress } from './progress.ts'

export function registerWhere(program: Command): void {
  program
    .command('where')
    .description('list all places on this machine that it uses, with their sizes')
    .addHelpText(
      'after',
      `
Changes nothing. What it has put beside the data folder, when root has started it, is not removed with that.`,
    )
    .action(where)
}

/** One place on this machine. */
export interface Place {
  /** What it is for, in a word or two. */
  about: string
  path: string
  /** What it takes of the disk, in bytes; or why that cannot be told. */
  size: number | string
  /** What else to know about it. */
  note?: string
}

/** Prints all places that a server with these settings has on this machine, and what others have left. Changes nothing. */
async function where(): Promise<void> {
  const config = readConfig(process.env)
  const progress = new Progress()
  const onFile = (path: string) => progress.show(`measuring ${path}`)
  const places = await findPlaces(resolve(config.dataDir), { onFile }).finally(() => progress.clear())
  for (const { about, path, size, note } of places) {
    const shown = typeof size === 'number' ? formatByteSize(size) : size
    process.stdout.write(`${about.padEnd(14)} ${shown.padStart(8)}  ${path}${note ? ` (${note})` : ''}\n`)
  }
  if (config.databaseUrl !== undefined) process.stdout.write('The database is that of DATABASE_URL.\n')
  if (config.s3) {
    process.stdout.write(`Files are in the bucket ${config.s3.bucket} of the store, too, or alone.\n`)
  }
}

/**
 * The data folder and what is in it; then what is beside it: the database and PostgreSQL, when root has started the server.
 *
 * @param dataDir absolute
 */
export async function findPlaces(
  dataDir: string,
  {
    libraryDir = SYSTEM_LIBRARY,
    cacheDir = SYSTEM_CACHE,
    onFile = (_path: string) => {},
  }: { libraryDir?: string; cacheDir?: string; onFile?: (path: string) => void } = {},
): Promise<Place[]> {
  const measured = async (about: string, path: string, note?: string): Promise<Place> => ({
    about,
    path,
    size: await diskUse(path, onFile).catch(systemReason),
    ...(note !== undefined && { note }),
  })
  const places = [
    await measured('program', fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')),
    await measured('data folder', dataDir, (await exists(dataDir)) ? undefined : 'none yet'),
  ]
  for (const [about, name] of OF_DATA_FOLDER) {
    const path = join(dataDir, name)
    if (!(await exists(path))) continue
    const real = await realpath(path).catch(() => path)
    const isElsewhere = !real.startsWith(`${await realpath(dataDir)}${sep}`)
    places.push(
      await measured(about, real, isElsewhere ? `${path} is a link to it: back up both` : undefined),
    )
  }
  for (const folder of await list(dataDir)) {
    if (basename(folder).startsWith('postgresql-')) places.push(await measured('PostgreSQL', folder, COPY))
  }
  for (const folder of await list(cacheDir)) places.push(await measured('PostgreSQL', folder, COPY))
  for (const folder of (await list(libraryDir)).filter((path) => !path.endsWith(NOTE))) {
    if (places.some(({ path }) => path === folder)) continue
    places.push(await measured('other database', folder, await whose(folder)))
  }
  return places
}

const OF_DATA_FOLDER = [
  ['keys', 'keys.json'],
  ['files', 'objects'],
  ['parts', 'spool'],
  ['database', 'postgres'],
  ['before upgrade', 'postgres.before-upgrade'],
] as const

const COPY = 'a copy of its programs: it is made again when it is missing'

/** Whose database it is that lies beside the one that was asked for. */
async function whose(folder: string): Promise<string> {
  const place = await readFile(`${folder}${NOTE}`, 'utf8').catch(() => undefined)
  if (place === undefined) return 'of another data folder, or of one that is gone'
  const isLinked = (await realpath(place.trim()).catch(() => undefined)) === folder
  const owner = dirname(place.trim())
  return isLinked
    ? `of ${owner}`
    : `of ${owner}, which is gone, was moved, or has another: remove it once nothing needs it`
}

async function list(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((): string[] => [])
  return names.sort().map((name) => join(folder, name))
}

async function exists(path: string): Promise<boolean> {
  return (await stats(path)) !== undefined
}

/** Undefined where there is nothing. */
async function stats(path: string): Promise<Stats | undefined> {
  return lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
}

/** What a file, or a folder with all that is in it, takes of the disk, in bytes; links are not followed. */
async function diskUse(path: string, onFile: (path: string) => void): Promise<number> {
  const found = await stats(path) // which may have gone since its folder was read
  if (found === undefined) return 0
  onFile(path)
  let bytes = found.blocks * 512 // the unit of st_blocks, whatever the file system's
  if (!found.isDirectory()) return bytes
  for (const name of await readdir(path)) bytes += await diskUse(join(path, name), onFile)
  return bytes
}
