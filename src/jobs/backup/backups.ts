import { UUID } from '../../lib/uuid.ts'
import { BackupError, hasFault } from './backup-error.ts'
import { type Manifest, manifestPath, readManifest } from './manifest.ts'
import type { BackupTarget } from './target.ts'

/** A backup whose manifest cannot be read. */
export interface UnreadableBackup {
  id: string
  /** DamagedBackup, or NewerFormat. */
  error: BackupError
}

/** How long nothing has changed in what a backup has left that nobody knows of, until it counts as killed. In milliseconds. */
const ABANDONED_MS = 86_400_000

/**
 * The whole backups in a target, the newest first: those that have a manifest.
 *
 * @param onUnreadable hears of those that cannot be listed
 * @throws TargetUnavailable
 */
export async function* listBackups(
  target: BackupTarget,
  onUnreadable?: (backup: UnreadableBackup) => void,
): AsyncGenerator<Manifest> {
  for (const id of await backupFolders(target)) {
    const found = await readManifest(target, id).catch((error: unknown) => {
      if (hasFault(error, 'NoSuchBackup')) return undefined // it is under way, or was killed
      if (!hasFault(error, 'DamagedBackup') && !hasFault(error, 'NewerFormat')) throw error
      onUnreadable?.({ id, error })
      return undefined
    })
    if (found) yield found
  }
}

/** The ids of the backups that are in a target, readable or not. @throws TargetUnavailable */
export async function backupsIn(target: BackupTarget): Promise<string[]> {
  const found: string[] = []
  for (const id of await backupFolders(target)) {
    if ((await target.exists(manifestPath(id))) !== null) found.push(id)
  }
  return found
}

/** The newest backup that is of all buckets. @throws NoSuchBackup, TargetUnavailable */
export async function newestWhole(target: BackupTarget): Promise<Manifest> {
  for await (const manifest of listBackups(target)) if (manifest.buckets === null) return manifest
  throw new BackupError('NoSuchBackup', `There is no whole backup in ${target.name}`)
}

/**
 * A backup and those that it was made upon, down to the full one.
 *
 * @throws NoSuchBackup for `id` itself; DamagedBackup when one of the others is missing; as `readManifest`
 */
export async function backupChain(target: BackupTarget, id: string): Promise<Manifest[]> {
  const chain = [await readManifest(target, id)]
  for (let last = chain[0]; last && last.parent !== null; last = chain.at(-1)) {
    const { parent } = last
    if (chain.some((known) => known.id === parent)) {
      throw new BackupError('DamagedBackup', `Backup ${parent} in ${target.name} is made upon itself`)
    }
    chain.push(await readParent(target, last.id, parent))
  }
  return chain
}

/**
 * Removes a backup. To be called where no backup is being made meanwhile that could build on it.
 *
 * @throws BackupInUse when another builds on it; NoSuchBackup, NewerFormat, TargetUnavailable
 */
export async function deleteBackup(target: BackupTarget, id: string): Promise<void> {
  try {
    await readManifest(target, id)
  } catch (error) {
    if (!hasFault(error, 'DamagedBackup')) throw error // what is damaged may go
  }
  for (const other of await backupFolders(target)) if (other !== id) await refuseUser(target, id, other)
  // Without it nothing of the rest counts, however far its removal comes.
  await target.remove(manifestPath(id))
  await target.removeAll(`${id}/`)
}

/** What somebody knows of a backup who may have made it. */
export type Fate = 'under way' | 'ended' | 'unknown'

/**
 * Removes what backups have left that were killed: folders without a manifest, also those of which nothing is there but an
 * unfinished write. Where nobody knows of one, it stays until nothing has changed in it for a day.
 *
 * @returns the ids of those that are gone
 * @throws TargetUnavailable
 */
export async function removeAbandoned(
  target: BackupTarget,
  fateOf: (id: string) => Promise<Fate>,
  now = new Date(),
): Promise<string[]> {
  const removed: string[] = []
  const unfinished = backupsAmong((await target.unfinishedFolders?.()) ?? [])
  for (const id of new Set([...(await backupFolders(target)), ...unfinished])) {
    if ((await target.exists(manifestPath(id))) !== null) continue
    const fate = await fateOf(id)
    if (fate === 'under way') continue
    // Another server that uses this target may know of it.
    if (fate === 'unknown' && (await hasChangedSince(target, id, now.getTime() - ABANDONED_MS))) continue
    await target.removeAll(`${id}/`)
    removed.push(id)
  }
  return removed
}

/** The names of the folders that are backups', the newest first. */
async function backupFolders(target: BackupTarget): Promise<string[]> {
  return backupsAmong(await target.folders())
}

function backupsAmong(names: string[]): string[] {
  return names
    .filter((name) => UUID.test(name))
    .sort()
    .reverse()
}

async function readParent(target: BackupTarget, id: string, parent: string): Promise<Manifest> {
  try {
    return await readManifest(target, parent)
  } catch (cause) {
    if (!hasFault(cause, 'NoSuchBackup')) throw cause
    const sentence = `Backup ${id} in ${target.name} builds on ${parent}, which is not there any more`
    throw new BackupError('DamagedBackup', sentence, { cause })
  }
}

/** @throws BackupInUse when `other` builds on `id`, or does perhaps */
async function refuseUser(target: BackupTarget, id: string, other: string): Promise<void> {
  let user: Manifest
  try {
    user = await readManifest(target, other)
  } catch (error) {
    if (hasFault(error, 'NoSuchBackup')) return
    if (!hasFault(error, 'DamagedBackup') && !hasFault(error, 'NewerFormat')) throw error
    const sentence = `Backup ${id} may have bytes of ${other}, which cannot be read: ${error.message}`
    throw new BackupError('BackupInUse', sentence, { cause: error })
  }
  // Whoever has bytes in an older one of a chain is made upon all of it, so that the next one is a user.
  if (user.parent !== id) return
  throw new BackupError(
    'BackupInUse',
    `Backup ${id} is needed by ${other}, which was made upon it: delete that first`,
  )
}

async function hasChangedSince(target: BackupTarget, id: string, time: number): Promise<boolean> {
  // Its id has the time at which it began, if it is one of ours (RFC 9562 §5.7).
  const begun = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
  if (begun > time) return true
  for await (const { modifiedAt } of target.list(`${id}/`)) if (modifiedAt.getTime() > time) return true
  return false
}
