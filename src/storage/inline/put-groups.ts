import type { Database } from '../../database/connection/client.ts'
import { GROUP_MS, GROUPS_AT_ONCE } from '../../database/connection/group-connections.ts'
import { isCertainlyRolledBack } from '../../database/connection/postgres-error.ts'
import {
  type GroupedPut,
  type GroupOutcome,
  type PutOutcome,
  putObject,
  putObjects,
} from '../../database/queries/put-object.ts'
import { type Deferred, deferred } from '../../lib/deferred.ts'
import type { Caller } from '../../model/caller.ts'
import { Rests } from './rests.ts'

/** Uploads in a group, at most, when groups are in time, and when they never are. */
const MOST = 16
const LEAST = 2

/** Their bytes, at most. */
const MOST_BYTES = 256 * 1024

const EVERY_BUCKET = 'every bucket'

interface Waiting extends GroupedPut {
  /** Bucket and name. In the order of these rows are locked, by whichever server. */
  key: string
  answer: Deferred<PutOutcome>
}

/**
 * Small uploads on their way into the database (decision 0056). Whoever finds it idle goes at once, in a call of his own.
 * Those that come while it is busy wait for one of the calls to end, or until they are as many as the last group had, and
 * are then sent as one, which takes one commit and one flush. They have nothing else to do with each other: what fails there
 * or takes long is done again by itself, as if there had been no group, so that no answer is another than it would be alone.
 */
export class PutGroups {
  readonly #database: Database
  /** Calls for whose end others wait. */
  #underWay = 0
  /** Uploads in the call that ended last. */
  #lastSize = 1
  /** Uploads in a group for now: fewer as long as groups take too long, as on a busy machine. */
  #most = MOST
  readonly #waiting: Waiting[] = []
  /** Of those that wait, or are in a group. */
  readonly #keys = new Set<string>()
  /** Buckets, by UUID, where one upload takes long and would hold up others; or EVERY_BUCKET, where there is no group at all. */
  readonly #rests = new Rests()

  constructor(database: Database) {
    this.#database = database
  }

  /**
   * Stores an object, as `putObject`.
   *
   * @param isLikely whether the caller will probably be allowed to; for others nobody waits, and no failure is done twice
   * @throws as `putObject`
   */
  put(caller: Caller, put: GroupedPut['put'], isLikely: boolean): Promise<PutOutcome> {
    if (!this.#database.groups || !isLikely || this.#restsFor(put)) return this.#alone({ caller, put })
    if (this.#waiting.length === 0 && this.#mayCall(1)) return this.#counted(this.#alone({ caller, put }), 1)
    const key = `${put.bucket.uid}/${put.object.name}`
    if (this.#keys.has(key)) return this.#alone({ caller, put })
    const answer = deferred<PutOutcome>()
    this.#keys.add(key)
    this.#waiting.push({ caller, put, key, answer })
    this.#sendNext()
    return answer.promise
  }

  #alone({ caller, put }: GroupedPut): Promise<PutOutcome> {
    return putObject(this.#database, caller, put)
  }

  /** On a connection for itself: the driver puts no other statement behind one that takes long. */
  #apart({ caller, put }: GroupedPut): Promise<PutOutcome> {
    return this.#database.transaction((tx) => putObject({ commit: tx.run.bind(tx) }, caller, put))
  }

  #restsFor({ bucket }: GroupedPut['put']): boolean {
    return this.#rests.has(EVERY_BUCKET) || this.#rests.has(bucket.uid)
  }

  /** Whether it is time for a call of so many: nobody waits for others where nothing is under way. */
  #mayCall(size: number): boolean {
    if (this.#underWay === 0) return size > 0
    return this.#underWay < GROUPS_AT_ONCE && size >= Math.min(this.#lastSize, this.#most)
  }

  /** Counts a call among those for whose end others wait: as long as it may hold up others. */
  async #counted<T>(call: Promise<T>, size: number): Promise<T> {
    this.#underWay++
    let isCounted = true
    const leave = () => {
      if (!isCounted) return
      isCounted = false
      this.#underWay--
      this.#lastSize = size
      this.#sendNext()
    }
    const timer = setTimeout(leave, GROUP_MS)
    try {
      return await call
    } finally {
      clearTimeout(timer)
      leave()
    }
  }

  #sendNext(): void {
    while (this.#mayCall(this.#waiting.length)) {
      const puts = this.#takeGroup()
      const [first] = puts
      if (first && puts.length === 1) void this.#counted(this.#sendAlone(first), 1)
      else if (!this.#sendGroup(puts)) for (const put of puts) void this.#sendAlone(put)
    }
  }

  #takeGroup(): Waiting[] {
    let count = 0
    let bytes = 0
    for (const { put } of this.#waiting.slice(0, this.#most)) {
      bytes += put.bytes.length
      if (count > 0 && bytes > MOST_BYTES) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** Returns whether there is a connection for it. */
  #sendGroup(puts: Waiting[]): boolean {
    puts.sort((a, b) => (a.key < b.key ? -1 : 1))
    const call = this.#database.groups?.during((connection) => putObjects(connection, puts))
    if (!call) return false
    void this.#counted(this.#answerAll(puts, call), puts.length)
    return true
  }

  /** Never fails. */
  async #answerAll(puts: Waiting[], call: Promise<GroupOutcome>): Promise<void> {
    try {
      const { outcomes, slowest } = await call
      this.#judge(puts, outcomes, slowest)
      puts.forEach((put, place) => {
        const outcome = outcomes[place]
        if (outcome) this.#answer(put, (answer) => answer.resolve(outcome))
        else void this.#sendAlone(put, place === slowest)
      })
    } catch (error) {
      this.#rest(EVERY_BUCKET)
      for (const put of puts) {
        // Nobody knows whether it is there: as after a call of its own that was lost.
        if (!isCertainlyRolledBack(error)) this.#answer(put, (answer) => answer.reject(error))
        else void this.#sendAlone(put)
      }
    }
  }

  /** What the next groups are to be like, and whose uploads are in none of them for a while. */
  #judge(puts: Waiting[], outcomes: GroupOutcome['outcomes'], slowest: number | null): void {
    const late = slowest === null ? undefined : (puts[slowest]?.put.bucket.uid ?? EVERY_BUCKET)
    const reached = outcomes.findLastIndex((outcome) => outcome !== null) + 1
    if (late) this.#most = Math.max(LEAST, this.#most >> 1)
    // What was left was too much for the time, or has failed by itself.
    else if (reached < puts.length) this.#most = Math.max(LEAST, reached)
    else this.#most = Math.min(MOST, this.#most + 1)

    const worked = new Set(puts.filter((_, place) => outcomes[place]).map(({ put }) => put.bucket.uid))
    for (const uid of worked) if (uid !== late) this.#rests.worked(uid)
    if (worked.size > 0) this.#rests.worked(EVERY_BUCKET)
    if (late) this.#rest(late)
    else if (worked.size === 0) this.#rest(EVERY_BUCKET)
  }

  /** Those that wait and are not to be in a group now need not wait for one. */
  #rest(name: string): void {
    this.#rests.begin(name)
    for (const waiting of this.#waiting.splice(0)) {
      if (this.#restsFor(waiting.put)) void this.#sendAlone(waiting)
      else this.#waiting.push(waiting)
    }
  }

  /** Never fails. */
  async #sendAlone(waiting: Waiting, isSlow = false): Promise<void> {
    try {
      const outcome = await (isSlow ? this.#apart(waiting) : this.#alone(waiting))
      this.#answer(waiting, (answer) => answer.resolve(outcome))
    } catch (error) {
      this.#answer(waiting, (answer) => answer.reject(error))
    }
  }

  #answer({ key, answer }: Waiting, settle: (answer: Deferred<PutOutcome>) => void): void {
    this.#keys.delete(key)
    settle(answer)
  }
}
