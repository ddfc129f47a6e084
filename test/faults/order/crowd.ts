import { Agent } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Random } from '../random.ts'
import type { Target } from './action.ts'
import type { Contents } from './contents.ts'
import type { Histories } from './histories.ts'
import { type Content, NOTHING } from './linearizability.ts'
import { REST_ACTIONS } from './rest-actions.ts'
import { S3_ACTIONS } from './s3-actions.ts'
import type { ServerProcess, TwoServers } from './servers.ts'
import { type Identity, Session } from './session.ts'
import { TUS_ACTIONS } from './tus-actions.ts'

const CLIENTS = 32

/** What all of them write to. */
const NAMES = [
  ...['a', 'b', 'c', 'd', 'e'].map((name) => ({ bucket: 'closed', name, isPublic: false, isLeftTo: null })),
  ...['f', 'g'].map((name) => ({ bucket: 'open', name, isPublic: true, isLeftTo: null })),
  // One server has only ever heard of what has become of this one.
  { bucket: 'open', name: 'h', isPublic: true, isLeftTo: 'second' },
]

const ACTIONS = [...REST_ACTIONS, ...S3_ACTIONS, ...TUS_ACTIONS]

/** Each as often as it is to be chosen. */
const CHOICES = ACTIONS.flatMap((action) => Array.from({ length: action.weight }, () => action))

/** One operation among so many is cut off by its client, within so many milliseconds. */
const CUT = { among: 300, withinMs: 8 }

/** One content among so many is not sent as one piece: it is larger than the 256 KiB that a server takes at once. */
const LARGE = { among: 150, size: 270_000 }

/** Clients that all write to the same few names, and read them. */
export class Crowd {
  /** How many operations were answered, so that it is known what became of them. */
  answered = 0
  unanswered = 0
  /** Answers that must not be. */
  readonly problems: string[] = []
  #onAnswered: (() => void) | undefined
  readonly #agent = new Agent({ keepAlive: true })
  /** What was read last. */
  readonly #seen = new Map<string, Content>()
  readonly #unused = new Set(ACTIONS)
  #newNames = 0

  constructor(
    private readonly servers: TwoServers,
    private readonly identity: Identity,
    private readonly contents: Contents,
    private readonly histories: Histories,
    private readonly random: Random,
  ) {}

  /** Resolves once so many operations more have been answered, or once something was wrong, and no operation runs. */
  async work(operations: number): Promise<void> {
    const goal = this.answered + operations
    const isOver = () => this.answered >= goal || this.problems.length > 0
    const client = async () => {
      while (!isOver()) {
        const { running } = this.servers
        if (running.length > 0) await this.#operate(running)
        else await delay(5) // both were killed
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, client))
  }

  /** Resolves once so many have been answered, or once something was wrong. */
  async reaches(answered: number): Promise<void> {
    while (this.answered < answered && this.problems.length === 0) {
      await new Promise<void>((resolve) => {
        this.#onAnswered = resolve
      })
    }
  }

  /** Ways to ask that were never answered. */
  get unused(): string[] {
    return [...this.#unused].map(({ what }) => what)
  }

  close(): void {
    this.#agent.destroy()
  }

  async #operate(running: ServerProcess[]): Promise<void> {
    const { random, histories } = this
    const { isLeftTo, ...at } = anyOf(NAMES, random)
    const key = `${at.bucket}/${at.name}`
    const action = anyOf(CHOICES, random)
    const mayBeFromMemory = at.isPublic && action.mayBeFromMemory === true
    const able = this.#able(running, mayBeFromMemory ? null : isLeftTo)
    const cutAfterMs = random.below(CUT.among) === 0 ? random.below(CUT.withinMs) : undefined
    const session = new Session(this.#agent, this.identity, able, cutAfterMs)
    const attempt = action.on({
      ...{ ...at, session, contents: this.contents, seen: this.#seenAt(key) },
      make: () => this.contents.make(this.#size()),
      newName: () => `elsewhere/${this.#newNames++}`,
    })
    if (!attempt) return
    const asked = { what: action.what, start: histories.now(), mayBeFromMemory }
    try {
      const told = await attempt.ask()
      if (told) {
        histories.answered(key, { ...asked, by: session.answeredBy }, told)
        this.answered++
        this.#unused.delete(action)
        if (told.is !== undefined && told.leaves === undefined) this.#seen.set(key, told.is)
      } else {
        this.unanswered++
        if (attempt.wants) histories.unanswered(key, asked, attempt.wants, session.unclear)
      }
    } catch (error) {
      this.problems.push(`${action.what} ${key}: ${error}`)
    }
    this.#onAnswered?.()
  }

  /** Those of the servers that are to be asked, the one to begin with first. */
  #able(running: ServerProcess[], leftTo: string | null): ServerProcess[] {
    const chosen = running.filter(({ name }) => leftTo !== null && name.startsWith(leftTo))
    const able = chosen.length > 0 ? chosen : running
    return this.random.below(2) === 0 ? [...able] : [...able].reverse()
  }

  #seenAt(key: string): Target['seen'] {
    const content = this.#seen.get(key) ?? NOTHING
    const etag = this.contents.etagOf(content)
    return etag === undefined ? undefined : { content, etag }
  }

  /** In bytes. */
  #size(): number {
    if (this.random.below(LARGE.among) === 0) return LARGE.size
    return 20 + this.random.below(this.random.below(4) === 0 ? 20_000 : 1000)
  }
}

function anyOf<T>(choices: readonly T[], random: Random): T {
  return random.pick(choices as [T, ...T[]]) // none of them is empty
}
