import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** A process that the bench has started, and will stop by its pid. */
export interface Running {
  pid: number
  /** Resolves when it has ended, by itself or not: with its exit code, or null if a signal has ended it. */
  ended: Promise<number | null>
  hasEnded(): boolean
  /** Asks it to end, insists after a while, and returns once it is gone. Twice is harmless. */
  stop(): Promise<void>
}

/** How long a process may take to end by itself, in milliseconds. The server under test stops its database too. */
const STOP_LIMIT_MS = 45_000

const running = new Set<Running>()
let isClosing = false

/** Stops whatever still runs, newest first: a reference may be connected to the server's database. */
export async function stopAll(): Promise<void> {
  for (const child of [...running].reverse()) await child.stop()
}

/** As stopAll(), and nothing can be started any more. */
export async function stopForGood(): Promise<void> {
  isClosing = true
  await stopAll()
}

/**
 * Starts a program whose output goes to a file.
 *
 * @param options.afterwards what is left to do once it has ended, also when it was killed
 */
export async function startProgram(
  command: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; log: string; afterwards?: () => Promise<void> },
): Promise<Running> {
  if (isClosing) throw new Error('the bench is over')
  const [program = '', ...args] = command
  const log = openSync(options.log, 'a')
  const child = spawn(program, args, {
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  const entry = tracked(child, options.afterwards)
  await once(child, 'spawn')
  return entry
}

/** Runs a program to its end. @throws Error with its output if that is no success */
export async function runProgram(command: string[], options: { cwd: string; log: string }): Promise<void> {
  const child = await startProgram(command, options)
  const code = await child.ended
  await child.stop()
  if (code !== 0) throw new Error(`${command.join(' ')} failed:\n${await readFile(options.log, 'utf8')}`)
}

/**
 * Starts a script of `references/` in a process of its own, so that it shares no event loop with the load.
 *
 * @returns the process, what the script said when it was ready, and a way to ask it things
 */
export async function startReference<Ready>(
  name: string,
  args: unknown,
): Promise<Running & { ready: Ready; ask<Answer>(question: unknown): Promise<Answer> }> {
  if (isClosing) throw new Error('the bench is over')
  const script = fileURLToPath(new URL(`references/${name}.ts`, import.meta.url))
  const child = fork(script, [JSON.stringify(args)])
  const answer = async <T>(): Promise<T> => {
    const answered = new AbortController()
    const gone = once(child, 'exit', answered).then(([code]) => {
      throw new Error(`The reference ${name} ended with ${code}`)
    })
    gone.catch(() => {}) // also when it is not waited for any more
    const [message] = await Promise.race([once(child, 'message'), gone])
    answered.abort()
    return message as T // both ends are ours
  }
  return {
    ...tracked(child),
    ready: await answer<Ready>(),
    ask: <T>(question: unknown) => {
      child.send(question as object)
      return answer<T>()
    },
  }
}

function tracked(child: ChildProcess, afterwards = async () => {}): Running {
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  const entry: Running = {
    pid: child.pid ?? 0, // without one it could not be started, and the caller hears of it
    ended,
    hasEnded,
    stop: async () => {
      if (child.pid !== undefined && !hasEnded()) {
        child.kill('SIGTERM')
        const insist = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
        await ended
        clearTimeout(insist)
      }
      await afterwards()
      running.delete(entry)
    },
  }
  running.add(entry)
  return entry
}

/** A port that nobody listens on. The parent picks it, because a child cannot tell which one it was given. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Waits until `url` answers 200; fails with the log of the process that should, also when that has ended. */
export async function untilAnswers(url: string, log: string, by?: Running): Promise<void> {
  for (const giveUpAt = Date.now() + 60_000; Date.now() < giveUpAt && !by?.hasEnded(); await delay(10)) {
    const response = await fetch(url).catch(() => undefined)
    await response?.arrayBuffer()
    if (response?.ok) return
  }
  throw new Error(`${url} does not answer. Its log:\n${await readFile(log, 'utf8')}`)
}
