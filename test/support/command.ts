import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until } from './wait.ts'

/** What `npm run build` has made of `src/main.ts`. */
export const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

export interface Place {
  /** The working folder of the command. */
  cwd: string
  /** Nothing else of the test's own environment gets through but what a process needs. */
  env?: Record<string, string>
  /** Another build's `main.js` than the one in `dist/`. */
  main?: string
  /** As whom it runs; only root may give another one than himself. */
  user?: { uid: number; gid: number }
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** A folder that PostgreSQL's user may enter, so that all a server makes is in it and goes with it. */
export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'strongroom-cli-'))
  await chmod(folder, 0o755)
  return folder
}

/** Runs the command to its end. */
export async function strongroom(args: string[], place: Place): Promise<Ended> {
  return new Command(args, place).ended
}

/** The command, running. */
export class Command {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  readonly #folder: string
  stdout = ''
  stderr = ''
  /** Whether all that it has ever said is here. */
  #hasSaidAll = false

  constructor(args: string[], { cwd, env = {}, main = MAIN, user }: Place) {
    this.#folder = cwd
    const { PATH = '', HOME = '' } = process.env
    this.child = spawn(process.execPath, [main, ...args], {
      cwd,
      env: { PATH, HOME, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...user,
    })
    this.child.stdout?.on('data', (bytes) => {
      this.stdout += bytes
    })
    this.child.stderr?.on('data', (bytes) => {
      this.stderr += bytes
    })
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (code, signal) => {
        this.#hasSaidAll = true
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr })
      })
    })
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** The lines of the log so far, parsed. */
  get logs(): Record<string, unknown>[] {
    const whole = this.stdout.slice(0, this.stdout.lastIndexOf('\n') + 1)
    return whole.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []))
  }

  /** Waits until the log says so. */
  async says(message: string): Promise<void> {
    await until(() => this.stdout.includes(message) || this.#mayStillSaySo(), `the command says ${message}`)
  }

  /** Where a server listens, once it does; its log has to have `info`. */
  async url(): Promise<string> {
    let url: unknown
    await until(() => {
      url = this.logs.find(({ msg }) => String(msg).startsWith('Strongroom is listening'))?.url
      return url !== undefined || this.#mayStillSaySo()
    }, 'it says where it listens')
    return String(url)
  }

  /** False; who says something and ends has said it. @throws when all has been said */
  #mayStillSaySo(): false {
    if (this.#hasSaidAll) throw new Error(`It has ended: ${this.stdout}${this.stderr}`)
    return false
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** The embedded PostgreSQL of the working folder's data, if one is said to run. */
  get postgres(): number | undefined {
    const file = join(this.#folder, 'storage-data', 'postgres', 'postmaster.pid')
    return existsSync(file) ? Number(readFileSync(file, 'utf8').split('\n', 1)[0]) : undefined
  }
}

/** Whether there is a process of this number that is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // Only Linux has this file; and the process may end between the two questions.
    return !existsSync('/proc/self/stat') || !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** Ends whatever still runs in a folder, and removes it. */
export async function removeFolder(folder: string, commands: Command[]): Promise<void> {
  for (const command of commands) {
    const { postgres } = command
    if (command.isRunning) command.signal('SIGKILL')
    await command.ended
    if (postgres === undefined || !isAlive(postgres)) continue
    process.kill(postgres, 'SIGQUIT')
    await until(() => !isAlive(postgres), 'PostgreSQL has ended')
  }
  // The children of a main process that was killed end, and write, a moment later.
  await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
}
