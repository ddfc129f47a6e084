import { expect } from 'vitest'
import { cleanUp } from '../../support/cleanup.ts'
import type { TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { type Drift, driftCount, findDrift, NO_DRIFT } from '../drift.ts'
import { isFull } from '../size.ts'
import type { Tally } from '../tally.ts'
import { type Operation, type State, sha256 } from './operations.ts'

/** One fault that can be put at any step of an operation, counted from 1. */
export interface Fault {
  what: string
  arm(step: number): void
  disarm(): void
  readonly hasStruck: boolean
  /** What the step was about, as far as there was one. */
  about(step: number): string
  /** The status of an operation that failed for it. */
  status: number
  /** Whether an operation that was answered with a failure may have been carried out, when it was this step. */
  leavesDoubt(step: number): boolean
  /** Whether a file that it leaves behind is on a list: removed without a search of the disk. */
  leavesOnlyListed: boolean
  /** Brings about the same state of affairs before each operation. */
  settle?(): void
}

/** Which fault step n gets; undefined where it is passed over. */
type Choice = (step: number) => Fault | undefined

/**
 * Which faults an operation meets, round by round. In full size each of them at every step; in reduced size one round, in
 * which each step has one of them, another one in each operation.
 *
 * @param index of the operation
 * @param isTried whether a step has one in reduced size
 */
export function roundsOf(
  faults: Fault[],
  index: number,
  isTried: (step: number) => boolean = () => true,
): [what: string, choose: Choice][] {
  if (isFull) return faults.map((one) => [one.what, () => one])
  let next = index
  return [
    ['one fault after the other', (step) => (isTried(step) ? faults[next++ % faults.length] : undefined)],
  ]
}

/**
 * Runs an operation again and again, with the fault at its first step, its second, and so on until it has no such
 * step. Each time the client must be told the truth: a success is there, whole; a failure has left what was before,
 * and the same operation succeeds once the fault is gone.
 *
 * @param aftermath what is to be looked at behind all operations
 * @returns how many steps have had their fault
 */
export async function failAtEachStep(
  server: TestServer,
  operation: Operation,
  prefix: string,
  choose: Choice,
  aftermath: Aftermath,
): Promise<number> {
  const { tally } = aftermath
  let struck = 0
  const isBack = () => server.request('GET', '/bucket').then((response) => response.ok)
  for (let step = 1; ; step++) {
    const fault = choose(step)
    if (fault === undefined) continue
    const round = operation.round(server, `${prefix}-${step}`)
    fault.settle?.()
    await until(isBack, 'the server works')
    await round.prepare()

    fault.arm(step)
    const response = await round.run()
    const text = await response.text()
    const { hasStruck } = fault
    const about = fault.about(step)
    const doubt = fault.leavesDoubt(step)
    fault.disarm()
    await until(isBack, 'the server works again')

    tally.rounds++
    const where = `${operation.what}: ${fault.what} at step ${step} (${about}), answered ${response.status} ${text}`
    const now = await look(server, Object.keys(round.before))
    if (response.ok) {
      tally.acknowledged++
      if (!isSame(now, round.after)) tally.lost++
      expect([where, now]).toEqual([where, round.after])
    } else {
      expect([where, hasStruck, response.status]).toEqual([where, true, fault.status])
      if (response.status === 503) expect([where, response.headers.has('retry-after')]).toEqual([where, true])
      const isDone = doubt && isSame(now, round.after)
      if (!isDone) {
        expect([where, now]).toEqual([where, round.before])
        const again = await round.run()
        expect([where, again.ok, await again.text()]).toEqual([where, true, expect.anything()])
        tally.acknowledged++
      }
    }
    aftermath.add(`${prefix}-${step}`, { where, expected: round.after, fault })
    if (!hasStruck) return struck
    struck++
  }
}

interface Outcome {
  where: string
  expected: State
  fault: Fault
}

/** What all rounds have left. Looked at once, since a cleanup goes through everything. */
export class Aftermath {
  /** By the bucket that the round began in. */
  readonly #outcomes = new Map<string, Outcome>()

  constructor(readonly tally: Tally) {}

  add(bucket: string, outcome: Outcome): void {
    this.#outcomes.set(bucket, outcome)
  }

  /** Says that a cleanup leaves nothing over, has not had to search for it where it should not, and took nothing else. */
  async settle(server: TestServer): Promise<void> {
    await this.#expectOnlyListed(server)
    let drift = await cleanedDrift(server)
    // A transaction of another test on the same PostgreSQL, if it is a long one, puts the removal off until the next cleanup.
    for (let more = 0; more < PUT_OFF && drift.filesWithoutRow.length > 0; more++) {
      drift = await cleanedDrift(server)
    }
    this.tally.leaked += driftCount(drift)
    expect(drift).toEqual(NO_DRIFT)
    for (const { where, expected } of this.#outcomes.values()) {
      const now = await look(server, Object.keys(expected))
      if (!isSame(now, expected)) this.tally.lost++
      expect([`after the cleanup: ${where}`, now]).toEqual([`after the cleanup: ${where}`, expected])
    }
  }

  /** Says that what careful rounds have left of bytes without a row stands on a list. */
  async #expectOnlyListed(server: TestServer): Promise<void> {
    const { filesWithoutRow, pending } = await findDrift(server)
    const buckets = await server.admin<{ id: string; uid: string }[]>`select id, uid from storage.buckets`
    const roundOf = new Map(buckets.map(({ id, uid }) => [uid, this.#outcomes.get(id.replace(/-to$/, ''))]))
    const unlisted = filesWithoutRow.filter((file) => {
      const [bucket = '', , version = ''] = file.split('/')
      return roundOf.get(bucket)?.fault.leavesOnlyListed && !pending.includes(version)
    })
    expect(unlisted).toEqual([])
  }
}

/** What a client reads who comes back: where the fault has met a question of the server's own, that may be cut later. */
async function look(server: TestServer, paths: string[]): Promise<State> {
  const found: State = {}
  for (const path of paths) {
    await until(async () => {
      const response = await server.request('GET', `/object/${path}`)
      const bytes = new Uint8Array(await response.arrayBuffer())
      const { status } = response
      if (![200, 404, 503].includes(status)) throw new Error(`GET ${path}: ${status}`)
      found[path] = status === 200 ? sha256(bytes) : null
      return status !== 503
    }, `${path} is answered`)
  }
  return found
}

function isSame(one: State, other: State): boolean {
  return Object.keys(one).every((path) => one[path] === other[path])
}

/** So often a cleanup may be put off. */
const PUT_OFF = 2

/** What a cleanup leaves. */
async function cleanedDrift(server: TestServer): Promise<Drift> {
  await cleanUp(server)
  return findDrift(server)
}
