/**
 * Facts about the PostgreSQL of a folder, whoever started it: `postmaster.pid` is what it says about itself.
 *
 * Lines of that file (PostgreSQL's src/include/utils/pidfile.h): pid, data folder, start time, port, socket
 * folder, TCP address, shared memory, status.
 */

import { execFile } from 'node:child_process'
import { readFile, readlink, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { EmbeddedPostgresError } from './embedded-error.ts'

/** How often a wait looks again. */
export const POLL_MS = 25

export interface PostmasterFile {
  /** 0 when the file is empty: a machine that crashed, or a server that is writing it this instant. */
  pid: number
  /** Folder of the unix socket; undefined until the server listens. */
  socketDir: string | undefined
  port: number
  /** `starting` (recovery included), `ready`, `stopping`, or undefined before the first. */
  status: string | undefined
}

/** What `postmaster.pid` says, or undefined when there is none: nothing runs and nothing crashed. */
export async function readPostmasterFile(folder: string): Promise<PostmasterFile | undefined> {
  const text = await readFile(join(folder, 'postmaster.pid'), 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return undefined
  const lines = text.split('\n').map((line) => line.trim())
  return {
    pid: Math.abs(Number.parseInt(lines[0] ?? '', 10)) || 0,
    port: Number.parseInt(lines[3] ?? '', 10) || 5432,
    socketDir: lines[4] || undefined,
    status: lines[7] || undefined,
  }
}

/**
 * Whether `pid` is the main PostgreSQL process of `folder` (a real path), and not a stranger that got the
 * number of a dead one. A zombie counts as gone: it holds nothing, though signal 0 still finds it.
 */
export async function isPostmasterOf(pid: number, folder: string): Promise<boolean> {
  if (pid <= 0) return false
  if (process.platform !== 'linux') {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => ({
      stdout: '',
    }))
    return stdout.includes('postgres') && stdout.includes(`-D ${folder} `)
  }
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
  const [program, ...args] = commandLine.split('\0')
  // Sessions and workers rename themselves to "postgres: …"; only the main process keeps its path.
  if (basename(program ?? '') !== 'postgres') return false
  if (args[args.indexOf('-D') + 1] === folder) return true
  // Started by hand with another spelling of the folder. Not asked first: a root without
  // CAP_SYS_PTRACE, as in Docker, may not read this link of another user's process.
  return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === folder
}

/** Whether something accepts connections on the socket in `socketDir`. */
export function answers(socketDir: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(join(socketDir, `.s.PGSQL.${port}`))
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** Fast shutdown, which breaks off sessions and writes a checkpoint; without one if that takes too long. */
const SHUTDOWN = [
  { signal: 'SIGINT', limitMs: 30_000 },
  { signal: 'SIGQUIT', limitMs: 15_000 }, // the next start recovers from the log; nothing committed is lost
] as const

/**
 * Stops the PostgreSQL `pid` of `folder` and returns once it is gone; one that is gone already is a success.
 *
 * @throws EmbeddedPostgresError when it may not be stopped, or does not stop
 */
export async function stopPostmaster(pid: number, folder: string): Promise<void> {
  const isGone = async () => !(await isPostmasterOf(pid, folder))
  for (const { signal, limitMs } of SHUTDOWN) {
    if (await isGone()) return
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ESRCH') return
      throw new EmbeddedPostgresError(
        `The PostgreSQL of ${folder} (pid ${pid}) belongs to another user: stop it, or start Strongroom as that user`,
        { cause: error },
      )
    }
    if (await waitUntil(isGone, limitMs)) return
  }
  throw new EmbeddedPostgresError(`The PostgreSQL of ${folder} (pid ${pid}) does not stop: end it by hand`)
}

/**
 * Removes the lock files of a PostgreSQL that died, where `stale.pid` now is a stranger's. PostgreSQL itself
 * clears away those of a dead pid, safely against others who start; a living pid makes it refuse.
 */
export async function removeStaleFiles(folder: string, stale: PostmasterFile): Promise<void> {
  if (stale.pid !== 0 && !isAlive(stale.pid)) return
  const now = await readPostmasterFile(folder)
  if (now === undefined || now.pid !== stale.pid) return
  if (stale.socketDir !== undefined) {
    const socketLock = join(stale.socketDir, `.s.PGSQL.${stale.port}.lock`)
    const holder = Number.parseInt(await readFile(socketLock, 'utf8').catch(() => ''), 10)
    if (holder === stale.pid) await rm(socketLock, { force: true })
  }
  await rm(join(folder, 'postmaster.pid'), { force: true })
}

/** Whether a process has this number, ours to signal or not. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Looks until `check` is true. Resolves to false when `limitMs` have passed. */
export async function waitUntil(check: () => Promise<boolean>, limitMs: number): Promise<boolean> {
  const giveUpAt = Date.now() + limitMs
  while (!(await check())) {
    if (Date.now() > giveUpAt) return false
    await delay(POLL_MS)
  }
  return true
}
