/**
 * Which files of a cluster a copy of it needs. Left out is what PostgreSQL makes anew when it starts, as pg_basebackup
 * does (https://www.postgresql.org/docs/18/protocol-replication.html, BASE_BACKUP; src/backend/backup/basebackup.c), and
 * what we have put there ourselves.
 */

import type { Dirent } from 'node:fs'
import { lstat, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

export interface ClusterFiles {
  /** By their paths in the cluster, with `/`, without pg_control. */
  files: ClusterFile[]
  /** All folders, also those of which nothing is copied. Each stands behind the one that it is in. */
  directories: string[]
}

export interface ClusterFile {
  path: string
  /** In bytes. It may have grown or shrunk since. */
  size: number
}

/** Says how far the log has to be gone through, so it is copied when all else is. */
export const CONTROL_FILE = 'global/pg_control'

/** Their folders are needed, their content is not. */
const EMPTIED = new Set([
  'pg_wal', // what is needed of it is copied by itself
  'pg_wal/archive_status',
  'pg_wal/summaries',
  'pg_replslot', // else the copy would keep a log for those who follow the original
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
])

const LEFT_OUT = new Set([
  'postmaster.pid',
  'postmaster.opts',
  'postgresql.auto.conf.tmp',
  'current_logfiles',
  'current_logfiles.tmp',
  'backup_label', // another backup's; ours comes from pg_backup_stop
  'tablespace_map',
  'backup_manifest',
  'server.log',
  'server.log.1',
])

/** Of PostgreSQL's caches and temporary files, in any folder. */
const LEFT_OUT_BEGINNINGS = ['pgsql_tmp', 'pg_internal.init']

/** What PostgreSQL calls its files, but its socket. What somebody else has left there is not the database's. */
const NAME = /^\w[\w.-]*$/

/** Where the tables of a database are. */
const DATABASE_FOLDER = /^base\/\d+$/

/** Of a table that belongs to one session: `t3_16384`. */
const SESSIONS_TABLE = /^t\d+_\d+/

/** Of any other one: its number, then a fork and a segment. */
const TABLE = /^(\d+)(?:_(fsm|vm|init))?(?:\.\d+)?$/

/**
 * Lists the cluster in `folder` as it is now, while PostgreSQL runs on it or not.
 *
 * @param leftOut further folders of ours in it
 */
export async function listCluster(folder: string, leftOut: ReadonlySet<string>): Promise<ClusterFiles> {
  const found: ClusterFiles = { files: [], directories: [] }
  await list(folder, '', leftOut, found)
  return found
}

async function list(
  root: string,
  inside: string,
  leftOut: ReadonlySet<string>,
  found: ClusterFiles,
): Promise<void> {
  const entries = await readdir(join(root, inside), { withFileTypes: true }).catch(whenGone<Dirent[]>([]))
  const isUnlogged = DATABASE_FOLDER.test(inside) ? unloggedOf(entries) : () => false
  for (const entry of entries) {
    const { name } = entry
    const path = inside === '' ? name : `${inside}/${name}`
    if (LEFT_OUT.has(path) || leftOut.has(path) || path === CONTROL_FILE || isUnlogged(name)) continue
    if (!NAME.test(name) || LEFT_OUT_BEGINNINGS.some((beginning) => name.startsWith(beginning))) continue
    // An operator may have put a folder such as pg_wal on another disk.
    const status = await (entry.isSymbolicLink() ? stat : lstat)(join(root, path)).catch(whenGone(undefined))
    if (status?.isDirectory()) {
      found.directories.push(path)
      if (EMPTIED.has(path)) await listFolders(root, path, found)
      else await list(root, path, leftOut, found)
    }
    if (status?.isFile()) found.files.push({ path, size: status.size })
  }
}

async function listFolders(root: string, inside: string, found: ClusterFiles): Promise<void> {
  for (const entry of await readdir(join(root, inside), { withFileTypes: true })) {
    const path = `${inside}/${entry.name}`
    if (EMPTIED.has(path)) found.directories.push(path)
  }
}

/** Tables that are not logged begin empty after a recovery, from their fork `init`; those of sessions are gone. */
function unloggedOf(entries: Dirent[]): (name: string) => boolean {
  const unlogged = new Set<string>()
  for (const { name } of entries) {
    const [, table, fork] = TABLE.exec(name) ?? []
    if (table !== undefined && fork === 'init') unlogged.add(table)
  }
  return (name) => {
    if (SESSIONS_TABLE.test(name)) return true
    const [, table, fork] = TABLE.exec(name) ?? []
    return table !== undefined && fork !== 'init' && unlogged.has(table)
  }
}

/** A table may be dropped while we look. */
export function whenGone<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT') return value
    throw error
  }
}
