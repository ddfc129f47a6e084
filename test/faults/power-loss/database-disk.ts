import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from '../../support/wait.ts'
import { type DatabaseLoss, loseUnflushed } from './database-loss.ts'

const SOURCE = fileURLToPath(new URL('database-recorder.c', import.meta.url))

/** Whether what PostgreSQL does can be recorded here: it takes Linux and a C compiler. Otherwise its flushes are trusted. */
export const isDatabaseRecorded =
  process.platform === 'linux' && spawnSync('cc', ['--version']).error === undefined
if (!isDatabaseRecorded) console.warn('PostgreSQL loses nothing in the power failures: it takes Linux and cc')

/** The files of an embedded PostgreSQL, of which a power failure takes what was not flushed. */
export class DatabaseDisk {
  /** What makes PostgreSQL write down what it does, as its environment. */
  readonly recorder: Record<string, string>
  readonly #cluster: string
  readonly #journal: string
  readonly #shadows: string

  /** @param folder of the recorder, on the same disk as the cluster; PostgreSQL's user may enter it */
  constructor(folder: string, cluster: string) {
    this.#cluster = cluster
    this.#journal = join(folder, 'database-journal')
    this.#shadows = join(folder, 'database-shadows')
    this.#begin()
    const library = join(folder, 'database-recorder.so')
    if (isDatabaseRecorded) execFileSync('cc', ['-O2', '-shared', '-fPIC', '-o', library, SOURCE, '-ldl'])
    this.recorder = isDatabaseRecorded
      ? {
          LD_PRELOAD: library,
          POWER_LOSS_CLUSTER: cluster,
          POWER_LOSS_JOURNAL: this.#journal,
          POWER_LOSS_SHADOWS: this.#shadows,
        }
      : {}
  }

  /** Ends every process of PostgreSQL's with no chance to do anything more, and takes what was not flushed. */
  async losePower(loss: DatabaseLoss): Promise<void> {
    await until(() => {
      const pids = this.#processes()
      for (const pid of pids) kill(pid)
      return pids.length === 0
    }, 'PostgreSQL is gone')
    loseUnflushed(this.#cluster, this.#journal, loss)
    this.#begin()
  }

  /** Those that work in the cluster's folder. */
  #processes(): number[] {
    if (process.platform !== 'linux') return []
    return readdirSync('/proc').flatMap((name) => {
      try {
        return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`) === this.#cluster ? [Number(name)] : []
      } catch {
        return [] // it has ended meanwhile
      }
    })
  }

  /** From now on all that is there is durable. */
  #begin(): void {
    rmSync(this.#shadows, { recursive: true, force: true })
    mkdirSync(this.#shadows)
    writeFileSync(this.#journal, '')
    // PostgreSQL may run as another user.
    chmodSync(this.#shadows, 0o777)
    chmodSync(this.#journal, 0o666)
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}
