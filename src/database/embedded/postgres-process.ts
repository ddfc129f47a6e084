import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedPostgresError } from './embedded-error.ts'
import { POLL_MS, readPostmasterFile } from './postmaster.ts'
import { lastLines, openLog } from './server-log.ts'
import { type Account, runAs } from './system-account.ts'
import { whyNotStarted } from './why-not-started.ts'

/** One run of PostgreSQL that we started. */
export interface PostgresProcess {
  readonly pid: number
  /** Resolves when it is gone, for whatever reason. */
  readonly exited: Promise<void>
  readonly hasExited: boolean
  /**
   * Waits until it takes connections, however long it recovers from a crash.
   *
   * @returns undefined, or how it failed
   */
  ready(signal: AbortSignal): Promise<StartFailure | undefined>
}

export interface StartFailure {
  /** Null when a signal ended it. 0 means that somebody asked it to stop. */
  exitCode: number | null
  /** The last lines of its log, of this run only. */
  log: string
}

export interface LaunchOptions {
  account: Account
  /** Folder that holds `bin/postgres`. */
  native: string
  /** The cluster, a real path. */
  folder: string
  settings: Record<string, string>
}

/**
 * Starts PostgreSQL and returns at once. It outlives us unless it is told to stop: a process group of its own
 * keeps Ctrl-C from it, so that the server can end its work first.
 *
 * @throws EmbeddedPostgresError when the program cannot be started at all
 */
export async function launch({ account, native, folder, settings }: LaunchOptions): Promise<PostgresProcess> {
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const log = await openLog(folder, account)
  try {
    const { size: logStart } = await log.stat()
    const child = spawn(join(native, 'bin/postgres'), ['-D', folder, ...args], {
      cwd: folder,
      env: { PATH: process.env.PATH, LC_ALL: 'C' }, // PG… variables of ours are not meant for it
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      ...runAs(account),
    })
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    await once(child, 'spawn')
    child.unref()
    const pid = child.pid ?? 0 // 'spawn' has been emitted, so there is one
    const hasExited = () => child.exitCode !== null || child.signalCode !== null
    return {
      pid,
      exited,
      get hasExited() {
        return hasExited()
      },
      async ready(signal) {
        while (!hasExited()) {
          signal.throwIfAborted()
          const now = await readPostmasterFile(folder)
          if (now?.pid === pid && now.status === 'ready') return undefined
          await delay(POLL_MS)
        }
        return { exitCode: child.exitCode, log: await lastLines(folder, logStart) }
      },
    }
  } catch (cause) {
    throw new EmbeddedPostgresError(`PostgreSQL cannot run: ${whyNotStarted(cause as Error)}`, { cause })
  } finally {
    await log.close()
  }
}
