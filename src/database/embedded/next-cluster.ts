/**
 * A cluster that is made beside another one, `<folder>.next`, and takes its place once it is whole: by two renames, between
 * which nothing is at the place. The next start sees to the second one, since the mark in the new one says that it is whole.
 */

import { existsSync } from 'node:fs'
import { readFile, readlink, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { flushPath } from '../../lib/fsync.ts'
import { EmbeddedPostgresError } from './embedded-error.ts'

/** In the new one: it is whole, and the old one not needed any more. */
const WHOLE = 'strongroom-whole'

/** In one whose rows went elsewhere: where to, and when. */
const MOVED = 'strongroom-moved'

export function nextCluster(folder: string): string {
  return `${folder}.next`
}

/**
 * Puts the new cluster in the place of the old one, which is kept beside it. Neither may run.
 *
 * @param folder a real path, at which there may be none
 * @returns where the old one is; undefined when there was none
 */
export async function swapIn(folder: string): Promise<string | undefined> {
  const next = nextCluster(folder)
  await writeFile(join(next, WHOLE), '')
  await flushPath(join(next, WHOLE))
  await flushPath(next)
  const kept = existsSync(folder) ? await unusedName(folder) : undefined
  if (kept !== undefined) await rename(folder, kept)
  await finishSwap(folder)
  return kept
}

/** Does what a killed `swapIn` has left to do. @param place of the cluster, or of a link to it */
export async function finishSwap(place: string): Promise<void> {
  const folder = resolve(dirname(place), await readlink(place).catch(() => place))
  const next = nextCluster(folder)
  if (existsSync(folder) || !existsSync(join(next, WHOLE))) return
  await rename(next, folder)
  await flushPath(dirname(folder))
  await rm(join(folder, WHOLE), { force: true })
}

/** Says in a cluster that its rows are elsewhere from now on: who went on with it would remove bytes that the other one names. */
export async function markMoved(folder: string, to: string): Promise<void> {
  await writeFile(join(folder, MOVED), `${to} on ${new Date().toISOString().slice(0, 10)}\n`)
  await flushPath(join(folder, MOVED))
  await flushPath(folder)
}

/** @throws EmbeddedPostgresError when its rows are elsewhere */
export async function refuseMoved(folder: string): Promise<void> {
  const to = await movedTo(folder)
  if (to === undefined) return
  throw new EmbeddedPostgresError(
    `The database in ${folder} was moved to ${to}: set DATABASE_URL to that. ` +
      `To go back to how it was before, and lose what was stored since, remove ${join(folder, MOVED)}`,
  )
}

/** Where its rows are; undefined when they are in it. */
export async function movedTo(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, MOVED), 'utf8').catch(() => undefined)
  return text?.trim()
}

/** After the major version of its own, such as `postgres-17`. */
async function unusedName(folder: string): Promise<string> {
  const version = await readFile(join(folder, 'PG_VERSION'), 'utf8').catch(() => 'former')
  const name = `${folder}-${version.trim()}`
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`
    if (!existsSync(candidate)) return candidate
  }
}
