import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { PATIENCE_MS } from './wait.ts'

/** What a program of somebody else needs of our environment. */
const ENV = { PATH: process.env.PATH ?? '/usr/bin:/bin' }

/** A program of somebody else that runs beside the tests. It does not outlive this process, however that ends. */
export interface Daemon {
  readonly pid: number
  readonly hasEnded: boolean
  /** The end of what it has said, for an error message. */
  lastWords(): string
  /** Kills it (SIGKILL), and resolves once it is gone. */
  kill(): Promise<void>
}

/** @param log path of the file that takes all it says; added to if it is there */
export async function startDaemon(command: string, args: string[], log: string): Promise<Daemon> {
  const output = openSync(log, 'a')
  // A killed test run cannot stop anything any more: the kernel does (prctl(2), PR_SET_PDEATHSIG). In a session of
  // its own, so that Ctrl-C reaches the test run alone, which then ends in order.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
    detached: true,
    stdio: ['ignore', output, output],
    env: ENV,
  })
  closeSync(output)
  const exited = once(child, 'exit')
  await once(child, 'spawn')
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  return {
    pid: child.pid ?? 0, // it is there: the process has been spawned
    get hasEnded() {
      return hasEnded()
    },
    lastWords: () => readFileSync(log, 'utf8').slice(-2000),
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** Runs a command to its end. @throws Error with what it said */
export async function run(command: string, args: string[]): Promise<void> {
  await promisify(execFile)(command, args, { env: ENV, timeout: PATIENCE_MS })
}

/** Sees to it that a folder goes when this process does, however it ends. Returns what removes it at once. */
export function removeAtEnd(folder: string): () => Promise<void> {
  // The shell reads until our end of the pipe is closed. Programs that die at the same moment may still write.
  const script = 'cat >/dev/null; until rm -rf "$1"; do sleep 0.1; done'
  const shell = spawn('sh', ['-c', script, 'sh', folder], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: ENV,
  })
  const exited = once(shell, 'exit')
  return async () => {
    shell.stdin.end()
    await exited
  }
}
