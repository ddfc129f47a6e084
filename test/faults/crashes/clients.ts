import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { until } from '../../support/wait.ts'
import { Contest } from './contest.ts'
import { Ledger } from './ledger.ts'
import { type FromClient, keysOf, now, type ToClient, type Work, writersOf } from './messages.ts'
import { type Contents, isAcknowledged } from './operation.ts'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const CLIENT = fileURLToPath(new URL('client.ts', import.meta.url))

/** The client processes, and what they have been told by the server. */
export class Clients {
  /** Operations asked and answers given, so far. */
  events = 0
  /** Operations that the server has taken for done, so far. */
  acknowledged = 0
  /** Answers that must not be, or that no history explains. */
  problems: string[] = []
  /** Whether there is no server to answer for a while. */
  mayGoUnanswered = false
  /** How many of those were asked since the last call of `struck`. */
  acknowledgedSince = 0
  readonly #processes: ChildProcess[] = []
  readonly #ledgers = new Map<string, Ledger>()
  #contests = new Map<string, Contest>()
  #busy = 0
  #struckAt = 0

  constructor(names: string[], seed: number) {
    for (const [index, name] of names.entries()) {
      for (const writer of writersOf(name)) this.#ledgers.set(writer, new Ledger())
      const child = fork(CLIENT, [name, String(seed + index)], { cwd: ROOT, execArgv: ['--import', 'tsx'] })
      child.on('message', (message: FromClient) => this.#hear(message))
      this.#processes.push(child)
    }
  }

  work(work: Work): void {
    this.#busy = this.#processes.length
    this.#contests = new Map(work.contested.map((key) => [key, new Contest()]))
    this.#tell({ tell: 'work', ...work })
  }

  /** Notes that something was killed just now. */
  struck(): void {
    this.#struckAt = now()
    this.acknowledgedSince = 0
  }

  /** Returns once every question has its answer, or is known to get none. */
  async stop(): Promise<void> {
    this.#tell({ tell: 'stop' })
    await until(() => this.#busy === 0, 'all clients have their answers')
  }

  /** Every name that is written to. */
  get keys(): string[] {
    return [...[...this.#ledgers.keys()].flatMap(keysOf), ...this.#contests.keys()]
  }

  /** Compares what was read with all that was answered. Returns what is wrong. */
  settle(found: Contents): string[] {
    const mine = (keys: string[]) => new Map([...found].filter(([key]) => keys.includes(key)))
    const problems = [...this.#ledgers].flatMap(
      ([writer, ledger]) => ledger.settle(mine(keysOf(writer))) ?? [],
    )
    const contested = [...this.#contests].flatMap(([key, contest]) => contest.problems(found.get(key), now()))
    return [...this.problems.splice(0), ...problems, ...contested]
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#processes.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        const exited = once(child, 'exit')
        child.kill('SIGKILL')
        await exited
      }),
    )
  }

  #tell(message: ToClient): void {
    for (const child of this.#processes) child.send(message)
  }

  #hear(message: FromClient): void {
    this.events++
    if (message.tell === 'idle') this.#busy--
    if (message.tell !== 'knows') return
    const { writer, operation, answer, span } = message
    const { status } = answer
    if (isAcknowledged(answer)) {
      this.acknowledged++
      if (span.askedAt > this.#struckAt) this.acknowledgedSince++
    }
    const isProper = status === null ? this.mayGoUnanswered : status < 500 || status === 503
    if (!isProper) this.problems.push(`${JSON.stringify(operation)} was answered ${status}`)
    if (writer !== null) {
      const problem = this.#ledgers.get(writer)?.record(operation, answer)
      if (problem !== undefined) this.problems.push(problem)
    } else if ('key' in operation) {
      this.#contests.get(operation.key)?.record(operation, answer, span)
    }
  }
}
