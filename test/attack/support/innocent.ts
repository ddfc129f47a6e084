import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import type { PlacedEventJson } from '../../../src/events/event.ts'
import { mintToken } from '../../../src/server/keys.ts'
import { RawClient } from '../../http/realtime/clients.ts'
import { type EventReader, openEvents } from '../../support/event-stream.ts'
import { seededBytes } from '../../support/seeded-bytes.ts'
import type { Served } from '../../support/server.ts'
import { PATIENCE_MS, until } from '../../support/wait.ts'
import { isFull } from './size.ts'

/** A test's own server, or the address of a process and what is in its `keys.json`. */
export type Attacked = Pick<Served, 'url' | 'keys'>

export interface Watched<T> {
  /** What the attack has returned. */
  result: T
  /** Objects that the innocent client stored while the attack ran. */
  uploads: number
  /** How much longer its median round took beside the attack than before: 2 is twice as long. */
  slowdown: number
}

export interface Watching {
  /** The largest `slowdown` that is still fair. Attackers and clients share the machine of the tests. */
  slowerAtMost?: number
}

/** Rounds that nobody measures: connections open, code gets warm. */
const WARM_UP = 3
/** Rounds before the attack, and at least beside it, so that a median says something. */
export const FEWEST = isFull ? 20 : 8
/** One round in so many has bytes that are too large to be kept in memory and in one piece. */
const LARGE_EVERY = 5
/** More than these say nothing new, and all of their objects are read again at the end. */
const MOST = 2000
/** Between two rounds: a person's app, not a load. In milliseconds. */
const PAUSE_MS = 10
/** The same once there have been enough for a median, beside attacks that take their time. In milliseconds. */
const LATER_PAUSE_MS = 50

/**
 * Runs an attack while somebody who has signed in uploads, reads, lists and listens, again and again. Fails unless to
 * this innocent client it was as if there were no attack: no request failed, all that was acknowledged is there byte
 * for byte, each of its events came by server-sent events and by WebSocket on connections that stayed open, and its
 * median round did not take `slowerAtMost` times as long as before or after.
 *
 *     const { result } = await besideInnocent(server, async () => { … })
 */
export async function besideInnocent<T>(
  server: Attacked,
  attack: () => Promise<T>,
  { slowerAtMost = 25 }: Watching = {},
): Promise<Watched<T>> {
  const innocent = await Innocent.arrive(server)
  try {
    await innocent.work(() => innocent.rounds.length >= WARM_UP)
    const before = await innocent.work((rounds) => rounds >= FEWEST)
    let isOver = false
    const attacking = attack().finally(() => {
      isOver = true
    })
    const beside = innocent.work((rounds) => (isOver && rounds >= FEWEST) || rounds >= MOST)
    const [attacked, during] = await Promise.allSettled([attacking, beside])
    if (attacked.status === 'rejected') throw attacked.reason
    if (during.status === 'rejected') throw during.reason
    let slowdown = median(during.value) / median(before)
    if (slowdown >= slowerAtMost) {
      // Perhaps not the attack: other tests of this machine may have begun beside it. Then it is still as slow now.
      const after = await innocent.work((rounds) => rounds >= FEWEST)
      slowdown = median(during.value) / Math.max(median(before), median(after))
    }
    const complaints = await innocent.complaints()
    if (complaints.length > 0)
      throw new Error(`${complaints.length} complaints: ${complaints.slice(0, 20).join('\n')}`)
    expect(slowdown, 'times as long as before the attack').toBeLessThan(slowerAtMost)
    return { result: attacked.value, uploads: during.value.length, slowdown }
  } finally {
    innocent.leave()
  }
}

/** A client of the server that means no harm. */
class Innocent {
  /** The name and the bytes of all that was acknowledged. */
  readonly stored = new Map<string, Buffer>()
  /** How long each round has taken, in milliseconds. */
  readonly rounds: number[] = []
  readonly #failed: string[] = []
  readonly #beats: NodeJS.Timeout

  private constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly bucket: string,
    private readonly stream: EventReader,
    private readonly socket: RawClient,
  ) {
    this.#beats = setInterval(() => socket.send('phoenix', 'heartbeat'), 10_000)
  }

  static async arrive(server: Attacked): Promise<Innocent> {
    const { url, keys } = server
    const bucket = `innocent-${randomUUID()}`
    const made = await ask(url, keys.serviceKey, 'POST', '/bucket', { name: bucket, policy: 'authenticated' })
    if (!made.ok) throw new Error(`bucket: ${made.status} ${await made.text()}`)
    const token = await mintToken(keys.jwtSecret, { role: 'authenticated', subject: randomUUID() }, 3600)
    const stream = await openEvents(server, { token, query: `?bucket=${bucket}` })
    const socket = new RawClient(server, { apikey: null, headers: { authorization: `Bearer ${token}` } })
    await socket.opened
    const joined = await socket.join(`realtime:storage:${bucket}`)
    if (joined.payload.status !== 'ok') throw new Error(`join: ${JSON.stringify(joined)}`)
    return new Innocent(url, token, bucket, stream, socket)
  }

  /** One round after the other until it is enough. @returns how long each took, in milliseconds */
  async work(isEnough: (rounds: number) => boolean): Promise<number[]> {
    const first = this.rounds.length
    while (!isEnough(this.rounds.length - first)) {
      const start = performance.now()
      await this.#round().catch((error: unknown) => this.#failed.push(String(error)))
      this.rounds.push(performance.now() - start)
      await delay(this.rounds.length - first < FEWEST ? PAUSE_MS : LATER_PAUSE_MS)
    }
    return this.rounds.slice(first)
  }

  /** Waits for what is still on its way, and says all that was not as it should be. */
  async complaints(): Promise<string[]> {
    const complaints = [...this.#failed]
    const names = [...this.stored.keys()]
    for (const name of names) {
      await this.#read(name).catch((error: unknown) => complaints.push(`at the end, ${error}`))
    }
    const missing = (heard: Set<string | null>) => names.filter((name) => !heard.has(name))
    const isDeaf = () => missing(this.#streamed()).length + missing(this.#signalled()).length > 0
    await until(() => !isDeaf(), 'all events are heard').catch(() => {
      complaints.push(`not heard by server-sent events: ${missing(this.#streamed())}`)
      complaints.push(`not heard by WebSocket: ${missing(this.#signalled())}`)
    })
    if (this.socket.code !== undefined) complaints.push(`the WebSocket was closed: ${this.socket.code}`)
    const open = Symbol('open')
    if ((await Promise.race([this.stream.ended, open])) !== open) complaints.push('the stream was ended')
    return complaints
  }

  leave(): void {
    clearInterval(this.#beats)
    this.stream.close()
    this.socket.socket.terminate()
  }

  async #round(): Promise<void> {
    const round = this.rounds.length
    const name = `${round}/photo.bin`
    const isLarge = round % LARGE_EVERY === LARGE_EVERY - 1
    const bytes = seededBytes(`${this.bucket}/${name}`, isLarge ? 400_000 : 2_000)
    await this.#ask('POST', `/object/${this.bucket}/${name}`, bytes)
    this.stored.set(name, bytes)
    await this.#read(name)
    const list = await this.#ask('POST', `/object/list/${this.bucket}`, { prefix: `${round}/` })
    const names = JSON.parse(list.toString()).map((entry: { name: string }) => entry.name)
    if (names.join() !== 'photo.bin') throw new Error(`list of ${round}/: ${names}`)
  }

  /** @throws Error unless it is exactly what was acknowledged */
  async #read(name: string): Promise<void> {
    const bytes = await this.#ask('GET', `/object/${this.bucket}/${name}`)
    if (!this.stored.get(name)?.equals(bytes)) throw new Error(`${name} has other bytes than were stored`)
  }

  async #ask(method: string, path: string, body?: Buffer | object): Promise<Buffer> {
    const response = await ask(this.url, this.token, method, path, body)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${bytes}`)
    return bytes
  }

  #streamed(): Set<string | null> {
    return new Set(this.stream.events().map(({ path }) => path))
  }

  #signalled(): Set<string | null> {
    const told = this.socket.frames.filter(({ event }) => event === 'broadcast')
    return new Set(told.map(({ payload }) => (payload.payload as PlacedEventJson).path))
  }
}

function ask(url: string, token: string, method: string, path: string, body?: Buffer | object) {
  const type = Buffer.isBuffer(body) ? 'application/octet-stream' : 'application/json'
  return fetch(`${url}/storage/v1${path}`, {
    method,
    signal: AbortSignal.timeout(PATIENCE_MS),
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': type }) },
    ...(body && { body: Buffer.isBuffer(body) ? new Uint8Array(body) : JSON.stringify(body) }),
  })
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}
