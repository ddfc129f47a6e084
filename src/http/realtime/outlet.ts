import type { WebSocket } from 'ws'
import type { Gap } from '../../events/subscribers/batch.ts'
import type { Backlog, Unread } from '../connection/unread.ts'
import { encode, type Message, type Version } from './frames.ts'
import type { Topic } from './topics.ts'

/** What may be before a reader, in bytes. Frames are shared, so that a crowd does not take so much memory each. */
export interface OutletLimits {
  /** Who has left more than this unread when there is another batch of events for him is too slow. */
  bufferedBytes: number
  /** At once, whatever channels ask for: a batch takes so much memory at most for one connection. */
  burstBytes: number
}

export interface OutletOptions {
  version: Version
  /** What it sends, and its client does not read, counts there. */
  unread: Unread
  limits: OutletLimits
  /** Its reader is too slow, or all together are and he most of all: nothing more is to be sent. */
  onBehind(reason: string): void
}

/** What a connection sends. Nothing of it waits: who does not read is to be cut off. */
export class Outlet {
  readonly #socket: WebSocket
  readonly #options: OutletOptions
  readonly #backlog: Backlog
  #sent = 0
  /** Of which it has told last. */
  #batch: Gap | undefined

  constructor(socket: WebSocket, options: OutletOptions) {
    this.#socket = socket
    this.#options = options
    this.#backlog = options.unread.open(options.onBehind)
    socket.on('close', () => this.#backlog.close())
  }

  /** How many frames. */
  get sent(): number {
    return this.#sent
  }

  /** Before there is more: how much comes at once, in several channels perhaps, says nothing about its reader. */
  beginNews(batch: Gap): void {
    if (batch === this.#batch) return
    this.#batch = batch
    this.#demand(this.#options.limits.bufferedBytes, 'too slow a reader')
  }

  reply({ joinRef, ref, topic }: Message, status: 'ok' | 'error', response: object): void {
    if (ref === null) return
    this.send({ joinRef, ref, topic, event: 'phx_reply', payload: { status, response } })
  }

  /** A word about a channel. */
  tell({ topic, name }: Topic, extension: string, status: 'ok' | 'error', message: string): void {
    const payload = { channel: name, extension, status, message }
    this.send({ joinRef: null, ref: null, topic, event: 'system', payload })
  }

  send(message: Message): void {
    this.sendFrame(encode(this.#options.version, message))
  }

  sendFrame(frame: Buffer): void {
    const socket = this.#socket
    if (socket.readyState !== socket.OPEN) return
    this.#sent++
    this.#backlog.add(frame)
    socket.send(frame, { binary: false }, this.#backlog.read)
    this.#demand(this.#options.limits.burstBytes, 'too much at once')
  }

  /** Cuts off who has more than so many bytes before him. */
  #demand(most: number, reason: string): void {
    if (this.#socket.bufferedAmount > most) this.#options.onBehind(reason)
  }
}
