import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../support/wait.ts'
import { Random } from '../random.ts'
import { isFull } from '../size.ts'
import { Folder } from './folder.ts'
import { Histories } from './histories.ts'
import {
  deleted,
  type Entry,
  erased,
  type History,
  type Keeping,
  removed,
  settled,
  takenOut,
  told,
  uploaded,
} from './history.ts'
import { type Outcomes, outcomes } from './moments.ts'
import { type Answer, ask, type Place } from './requests.ts'
import type { SharedNames } from './shared-names.ts'

/** A client that was refused asks again so much later, and one that was served, in milliseconds; as `Load` has them. */
const PAUSE_MS = isFull ? 20 : 60
const PACE_MS = isFull ? 0 : 10
/** So long nothing is done around a moment, in milliseconds. */
const APART_MS = 2

/** One of so many operations is on names that others write to as well. */
const ONE_SHARED_OF = 4

export interface VersionedLoadOptions {
  place: () => Place
  /** By the ids of their buckets. */
  keeping: ReadonlyMap<string, Keeping>
  seed: number
  /** Says of what is in the trash of a name that its time is up. Without it nothing is. */
  expire?: (bucket: string, name: string) => Promise<void>
  /** Names of all clients. */
  shared?: SharedNames
}

/** An operation, as it is asked for. */
interface Request {
  method: string
  target: string
  body?: Buffer | string
  /** With which it is answered when it is done. */
  done: number[]
}

/**
 * Clients that upload, overwrite, move, delete, take out of the trash, bring versions back and whole folders, each in folders of
 * its own, and keep the history of each name as they were told it. Who has had no answer leaves the folder alone from then on: its
 * names have one history or the other.
 */
export class VersionedLoad {
  acknowledged = 0
  /** Answers that no client should get, whatever has failed. */
  readonly strange: string[] = []
  readonly keeping: ReadonlyMap<string, Keeping>
  readonly #histories = new Histories()
  readonly #clients: { random: Random; folders: Map<string, Folder> }[] = []
  #isStopping = false
  #running: Promise<unknown> = Promise.resolve()

  constructor(private readonly options: VersionedLoadOptions) {
    this.keeping = options.keeping
  }

  /** Begins, or goes on after `stop`. */
  start(clients: number): void {
    const { seed, keeping } = this.options
    this.#isStopping = false
    for (let client = this.#clients.length; client < clients; client++) {
      const folders = [...keeping].map(([bucket, how]) => [bucket, new Folder(client, bucket, how)] as const)
      this.#clients.push({ random: new Random(seed + client), folders: new Map(folders) })
    }
    this.#running = Promise.all(
      this.#clients.map(({ random, folders }) => this.#run(random, [...folders.values()])),
    )
  }

  /** Ends all clients, once each has its answer. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await this.#running
  }

  /** Waits until so many more operations have succeeded. */
  async succeeds(count = 10): Promise<void> {
    const enough = this.acknowledged + count
    await until(() => this.acknowledged >= enough, `operations succeed (${this})`)
  }

  /** What each name may be now, by its path. */
  get possible(): ReadonlyMap<string, readonly History[]> {
    return this.#histories.possible
  }

  /** As `Histories.watch`. */
  watch(): () => Map<string, Set<string>> {
    return this.#histories.watch()
  }

  toString(): string {
    return `seed ${this.options.seed}, ${this.acknowledged} operations acknowledged`
  }

  async #run(random: Random, folders: Folder[]): Promise<void> {
    const { shared } = this.options
    while (!this.#isStopping) {
      const folder = random.pick(folders as [Folder, ...Folder[]])
      const isShared = shared !== undefined && random.below(ONE_SHARED_OF) === 0
      const isDone = isShared ? await shared.write(random) : await this.#operate(random, folder)
      if (!isDone) {
        if (!isShared) folder.leave()
        await this.#isBack()
      }
      await delay(isDone ? PACE_MS : PAUSE_MS)
    }
  }

  /** Returns whether it was answered. */
  #operate(random: Random, folder: Folder): Promise<boolean> {
    const { bucket, keeping } = folder
    const name = random.pick(folder.names)
    if (keeping.isEmptied) return this.#litter(random, `${bucket}/${name}`)
    if (keeping.way === 'trash') return this.#useTrash(random, folder, name)
    return random.below(16) === 0 ? this.#remember(folder) : this.#useVersions(random, folder, name)
  }

  #useVersions(random: Random, folder: Folder, name: string): Promise<boolean> {
    const { bucket, keeping } = folder
    const path = `${bucket}/${name}`
    const history = this.#histories.of(path)
    const isThere = history[0]?.kind === 'object'
    const isRuled = keeping.newest !== undefined
    const named = settled(history, keeping).filter(({ id }) => id !== undefined)
    switch (random.below(14)) {
      // A marker alone is none that the rule is about.
      case 0:
        if (!isRuled) return this.#delete(path, deleted(history, keeping))
        break
      case 1:
      case 2:
        if (isThere) return this.#delete(path, deleted(history, keeping))
        break
      case 3: {
        const entry = random.pick([undefined, ...named])
        if (entry === undefined || isRuled) break
        folder.forget()
        return this.#delete(path, removed(history, entry), `?versionId=${entry.id}`)
      }
      case 4: {
        const entry = random.pick([undefined, ...named.filter(({ kind }) => kind === 'version')])
        if (entry === undefined) break
        const body = JSON.stringify({ bucket, path: name, version_id: entry.id })
        const after = uploaded(history, String(entry.sha256), keeping)
        return this.#ask(new Map([[path, after]]), {
          method: 'POST',
          target: '/versions/restore',
          body,
          done: [200],
        })
      }
      case 5:
        if (!isThere || random.below(2) === 0) break
        folder.forget()
        return this.#delete(path, erased(history, keeping), '?permanent=true')
      case 6:
        return this.#move(random, folder, name)
      case 7:
      case 8:
        if (isRuled) break
        return this.#goBack(random, folder)
    }
    return this.#upload(random, folder, path)
  }

  #useTrash(random: Random, folder: Folder, name: string): Promise<boolean> {
    const { bucket, keeping } = folder
    const path = `${bucket}/${name}`
    const history = this.#histories.of(path)
    const isThere = history[0]?.kind === 'object'
    const isAnyDue = history.some(({ isDue }) => isDue)
    const trash = history.filter(({ kind, isDue }) => kind === 'trash' && !isDue)
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
        if (isThere) return this.#delete(path, deleted(history, keeping))
        break
      case 3:
      case 9:
      case 10:
        if (trash.length > 0) return this.#expire(bucket, name, history)
        break
      case 4:
      case 5: {
        const [newest] = trash
        if (newest === undefined || isAnyDue) break
        const body = JSON.stringify({ bucket, path: name, overwrite: true })
        const after = new Map([[path, takenOut(history, newest)]])
        return this.#ask(after, { method: 'POST', target: '/trash/restore', body, done: [200] })
      }
      case 6: {
        const entry = random.pick([undefined, ...trash])
        if (entry === undefined) break
        return this.#purge(bucket, name, entry)
      }
      case 7:
        if (isThere) return this.#delete(path, erased(history, keeping), '?permanent=true')
        break
      case 8:
        return this.#move(random, folder, name)
    }
    return this.#upload(random, folder, path)
  }

  #upload(random: Random, { keeping }: Folder, path: string): Promise<boolean> {
    const body = random.bytes(random.below(8) === 0 ? 300_000 : 1 + random.below(5000))
    const after = new Map([[path, uploaded(this.#histories.of(path), sha256(body), keeping)]])
    return this.#ask(after, { method: 'PUT', target: `/object/${path}`, body, done: [200, 201] })
  }

  #delete(path: string, after: History, how = ''): Promise<boolean> {
    return this.#ask(new Map([[path, after]]), {
      method: 'DELETE',
      target: `/object/${path}${how}`,
      // Who says `permanent` is told.
      done: [how.startsWith('?permanent') ? 200 : 204],
    })
  }

  /** Of what a rule and whoever empties the trash take away at any moment. */
  #litter(random: Random, path: string): Promise<boolean> {
    const target = `/object/${path}`
    if (random.below(4) === 0) return this.#ask(new Map(), { method: 'DELETE', target, done: [204, 404] })
    const body = random.bytes(random.below(8) === 0 ? 300_000 : 1 + random.below(5000))
    return this.#ask(new Map(), { method: 'PUT', target, body, done: [200, 201] })
  }

  async #move(random: Random, folder: Folder, name: string): Promise<boolean> {
    const { bucket, keeping } = folder
    const to = random.pick(folder.names)
    const [source, target] = [`${bucket}/${name}`, `${bucket}/${to}`]
    const [history, there] = [this.#histories.of(source), this.#histories.of(target)]
    const [first, ...others] = history
    if (first?.kind !== 'object' || there[0]?.kind === 'object') return true
    const after = new Map([
      [source, keeping.way === 'trash' ? others : deleted(history, keeping)],
      [target, uploaded(there, String(first.sha256), keeping)],
    ])
    const body = JSON.stringify({ bucketId: bucket, sourceKey: name, destinationKey: to })
    return this.#ask(after, { method: 'POST', target: '/object/move', body, done: [200] })
  }

  /** Removes one for good that is in the trash. */
  async #purge(bucket: string, name: string, entry: Entry): Promise<boolean> {
    const path = `${bucket}/${name}`
    const listed = await ask(this.options.place(), 'GET', `/trash?bucket=${bucket}&prefix=${name}`)
    if (listed?.status !== 200) return false
    const { items } = JSON.parse(listed.text) as { items: { version: string; checksum: string }[] }
    const found = items.find(({ checksum }) => checksum === entry.sha256)
    if (found === undefined) {
      this.strange.push(`${entry.sha256} is not in the trash of ${path}: ${listed.text}`)
      return false
    }
    const after = this.#histories.of(path).filter((other) => other !== entry)
    const target = `/trash/${found.version}`
    return this.#ask(new Map([[path, after]]), { method: 'DELETE', target, done: [204] })
  }

  async #expire(bucket: string, name: string, history: History): Promise<boolean> {
    if (this.options.expire === undefined) return true
    const path = `${bucket}/${name}`
    const after = history.map((entry): Entry => (entry.kind === 'trash' ? { ...entry, isDue: true } : entry))
    this.#histories.may(path, after)
    const isDone = await this.options.expire(bucket, name).then(
      () => true,
      () => false,
    )
    if (isDone) this.#histories.is(path, after)
    return isDone
  }

  /** A moment to which the folder may go back. */
  async #remember(folder: Folder): Promise<boolean> {
    await delay(APART_MS)
    const at = new Date().toISOString()
    await delay(APART_MS)
    folder.note(at, (path) => this.#histories.of(path)[0])
    return true
  }

  /** Brings the whole folder back to what it was at a moment. */
  async #goBack(random: Random, folder: Folder): Promise<boolean> {
    const { bucket, keeping } = folder
    const moment = random.pick([undefined, ...folder.moments])
    if (moment === undefined) return true
    const { at, objects } = moment
    const plans = new Map<string, Outcomes>()
    for (const path of folder.paths) {
      const plan = outcomes(this.#histories.of(path), objects.get(path), keeping)
      plans.set(path, plan)
      this.#histories.may(path, ...Object.values(plan))
    }
    const target = '/versions/restore'
    const body = JSON.stringify({ bucket, prefix: folder.prefix, at })
    const answer = await this.#answer({ method: 'POST', target, body, done: [200] })
    if (answer === undefined) return false
    const { sample } = JSON.parse(answer.text) as { sample: { name: string; outcome: keyof Outcomes }[] }
    const done = new Map(sample.map(({ name, outcome }) => [`${bucket}/${name}`, outcome]))
    const after = new Map<string, History>()
    for (const [path, plan] of plans) {
      const history = plan[done.get(path) ?? 'unchanged']
      if (history !== undefined) after.set(path, history)
      else this.strange.push(`${path} at ${at}: ${answer.text}, and not ${Object.keys(plan)}`)
    }
    await this.#are(after)
    return after.size === plans.size
  }

  /** Asks for what makes the histories of names others. Returns whether it was answered. */
  async #ask(after: ReadonlyMap<string, History>, request: Request): Promise<boolean> {
    for (const [path, history] of after) this.#histories.may(path, history)
    const answer = await this.#answer(request)
    if (answer !== undefined) await this.#are(after)
    return answer !== undefined
  }

  /** Undefined when it is not known to be done. */
  async #answer({ method, target, body, done }: Request): Promise<Answer | undefined> {
    const answer = await ask(this.options.place(), method, target, body)
    if (answer === undefined || answer.status === 503) return undefined
    if (!done.includes(answer.status)) {
      this.strange.push(
        `${method} ${target} ${typeof body === 'string' ? body : ''}: ${answer.status} ${answer.text}`,
      )
      return undefined
    }
    this.acknowledged++
    return answer
  }

  async #are(after: ReadonlyMap<string, History>): Promise<void> {
    for (const [path, history] of after) this.#histories.is(path, await this.#named(path, history))
  }

  /** With the id of what is new, if it is told. */
  async #named(path: string, history: History): Promise<History> {
    const [first, ...others] = history
    const { way } = this.keeping.get(path.split('/', 1)[0] ?? '') as Keeping // all paths are in one of them
    if (first === undefined || first.id !== undefined || way === 'trash') return history
    const answer = await ask(this.options.place(), 'GET', `/versions/${path}?limit=1`)
    if (answer?.status !== 200) return history
    const { version_id: id, checksum } = JSON.parse(answer.text).items[0]
    if (checksum !== first.sha256) this.strange.push(`${path} is ${checksum}, and ${told(history)} was done`)
    return [{ ...first, id }, ...others]
  }

  /** Waits until clients are served. */
  async #isBack(): Promise<void> {
    const isServed = async () =>
      this.#isStopping || (await ask(this.options.place(), 'GET', '/bucket'))?.status === 200
    await until(isServed, `clients are served again (${this})`)
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
