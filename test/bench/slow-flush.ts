import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram } from './processes.ts'
import type { Strongroom } from './strongroom.ts'

const SOURCE = fileURLToPath(new URL('slow-flush.c', import.meta.url))

/** How long a flush takes on a slow disk, in milliseconds. */
export const FLUSH_MS = 5

/** Makes the disk slow for whatever is started with it: the server's flushes and its PostgreSQL's alike. */
export interface SlowFlush {
  env: NodeJS.ProcessEnv
  /** @throws when PostgreSQL has been started without it */
  check(server: Strongroom): Promise<void>
}

/** @returns why it cannot be had, or it */
export async function slowFlush(folder: string): Promise<SlowFlush | string> {
  if (process.platform !== 'linux') return 'only Linux lets a library delay flushes (LD_PRELOAD)'
  const library = join(folder, 'slow-flush.so')
  const defines = [`-DFLUSH_MS=${FLUSH_MS}`, `-DSELF="${library}"`]
  const compile = ['cc', '-shared', '-fPIC', '-O2', ...defines, '-o', library, SOURCE]
  try {
    await runProgram(compile, { cwd: folder, log: join(folder, 'cc.log') })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'cc, a C compiler, is not installed'
    throw error
  }
  return {
    env: { LD_PRELOAD: library },
    check: async ({ admin }) => {
      const [row] = await admin`select pg_backend_pid() as pid`
      const maps = await readFile(`/proc/${row?.pid}/maps`, 'utf8')
      if (!maps.includes(library)) throw new Error('PostgreSQL flushes without delay')
    },
  }
}
