import type { ChildProcess } from 'node:child_process'
import cluster, { type Worker } from 'node:cluster'
import type { Change } from '../../storage/object/changes.ts'
import type { Family } from '../../telemetry/metrics/catalog.ts'
import type { MeasuredWorker } from '../../telemetry/metrics/worker-metrics.ts'
import type { Addresses } from '../request-server.ts'
import type { BusMember, InvalidationBus } from './invalidation-bus.ts'
import type { Answering, Answers, Assignment, FromWorker, ToWorker } from './messages.ts'

/** How a worker has ended. */
export interface WorkerEnd {
  code: number | null
  signal: NodeJS.Signals | null
  /** What it has said about it. */
  reason: string | undefined
}

/** What a process has said before its end is there by then. In milliseconds. */
const LAST_WORDS_LIMIT_MS = 1000

/** One process that answers requests, from its start to its end, as the primary sees it. */
export class WorkerProcess implements BusMember, MeasuredWorker {
  readonly #worker: Worker
  readonly #bus: InvalidationBus
  readonly #answers: Answering
  readonly #reports = new Map<number, (families: Family[]) => void>()
  #reportCount = 0
  #reason: string | undefined
  #isReady = false
  #isToStop = false
  /** Where it listens, once it does; undefined when it has ended before. */
  readonly addresses: Promise<Addresses | undefined>
  readonly ended: Promise<WorkerEnd>

  /**
   * @param bus tells the other workers what this one changes
   * @param answers what it may ask
   */
  constructor(assignment: Assignment, bus: InvalidationBus, answers: Answering) {
    this.#bus = bus
    this.#answers = answers
    this.#worker = cluster.fork()
    const listening = new Promise<Addresses>((resolve) => {
      this.#worker.on('message', (message: FromWorker) => {
        if (message.type === 'listening') resolve({ url: message.url, s3Url: message.s3Url })
        else if (message.type === 'failed') this.#reason = message.reason
        else if (message.type === 'changed') void this.#passOn(message)
        else if (message.type === 'dropped') this.#bus.dropped(this, message.id)
        else if (message.type === 'reported') this.#heard(message)
        else if (message.type === 'ask') void this.#answer(message)
        else this.#begin(assignment)
      })
    })
    cutOffAtEnd(this.#worker.process)
    this.ended = this.#end()
    this.addresses = Promise.race([listening, this.ended.then(() => undefined)])
  }

  /** Undefined when the system had no room for it. */
  get pid(): number | undefined {
    return this.#worker.process.pid
  }

  /** Whether it may have something in memory. */
  get mayRemember(): boolean {
    return this.#isReady
  }

  /** Lets it drop from its memory what another has changed; it answers `dropped`. */
  drop(id: number, changes: Change[]): void {
    this.#tell({ type: 'drop', id, changes })
  }

  /** What it has counted. Never resolves when it does not answer. */
  report(): Promise<Family[]> {
    const id = ++this.#reportCount
    // One that has not answered the time before is not waited for any more.
    this.#reports.clear()
    return new Promise((resolve) => {
      this.#reports.set(id, resolve)
      this.#tell({ type: 'report', id })
    })
  }

  #heard({ id, families }: { id: number; families: Family[] }): void {
    this.#reports.get(id)?.(families)
    this.#reports.delete(id)
  }

  async #answer({ id, about }: { id: number; about: keyof Answers }): Promise<void> {
    const answer = await this.#answers[about]().catch(() => null)
    this.#tell({ type: 'answered', id, answer })
  }

  async #passOn({ id, changes }: { id: number; changes: Change[] }): Promise<void> {
    await this.#bus.publish(this, changes)
    this.#tell({ type: 'invalidated', id })
  }

  /** Asks it to finish its running requests, and to end. */
  stop(): void {
    this.#isToStop = true
    if (this.#isReady) this.#tell({ type: 'stop' })
  }

  kill(): void {
    this.#worker.process.kill('SIGKILL')
  }

  #begin(assignment: Assignment): void {
    this.#isReady = true
    this.#tell(this.#isToStop ? { type: 'stop' } : { type: 'serve', assignment })
  }

  #tell(message: ToWorker): void {
    // It may have died a moment ago, of which `ended` tells.
    this.#worker.send(message, () => {})
  }

  async #end(): Promise<WorkerEnd> {
    const worker = this.#worker
    const end = await new Promise<Omit<WorkerEnd, 'reason'>>((resolve) => {
      worker.once('exit', (code: number | null, signal: NodeJS.Signals | null) => resolve({ code, signal }))
      worker.on('error', (error) => {
        if (this.pid !== undefined) return // a message that did not reach it
        this.#reason = error.message
        resolve({ code: null, signal: null })
      })
    })
    if (worker.isConnected()) await this.#lastWords()
    return { ...end, reason: this.#reason }
  }

  /** Resolves once all that it has said has been heard. */
  async #lastWords(): Promise<void> {
    const { process } = this.#worker
    // Of one that was killed in the middle of a message Node does not say so, and would keep its place at the port.
    const late = setTimeout(() => {
      // What has come by then is read first, in case it is this process that is late.
      setImmediate(() => process.connected && process.emit('disconnect'))
    }, LAST_WORDS_LIMIT_MS)
    await new Promise<void>((resolve) => process.once('disconnect', resolve))
    clearTimeout(late)
  }
}

/**
 * Sees to it that the connection which was on its way to a worker ends with it: Node forgets that one, so that its
 * client would wait for ever. All others are the worker's alone, and end by themselves.
 */
function cutOffAtEnd(process: ChildProcess): void {
  const send = process.send.bind(process) as (...args: unknown[]) => boolean
  let onItsWay: Closable | undefined
  process.send = (...args: unknown[]) => {
    // One at a time. Node closes it itself once the worker has it; twice is harmless.
    if (isHandle(args[1])) onItsWay = args[1]
    return send(...args)
  }
  process.once('exit', () => onItsWay?.close())
}

interface Closable {
  close(): void
}

function isHandle(value: unknown): value is Closable {
  return typeof value === 'object' && value !== null && 'close' in value
}
