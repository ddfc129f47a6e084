import type { WebSocket } from 'ws'
import type { Backlog, Unread } from '../connection/unread.ts'
import { encode, type Message, type Version } from './frames.ts'
import type { Topic } from './topics.ts'

export interface OutletOptions {
  version: Version
  /** What it sends, and its client does not read, counts there. */
  unread: Unread
  /** A reader with more than this before him is too slow. */
  bufferedBytes: number
  /** He is, or all readers together are and he most of all: nothing more is to be sent. */
  onBehind(reason: string): void
}

/** What a connection sends. Nothing of it waits: who does not read is to be cut off. */
export class Outlet {
  readonly #socket: WebSocket
  readonly #options: OutletOptions
  readonly #backlog: Backlog
  #sent = 0

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
    if (socket.bufferedAmount > this.#options.bufferedBytes) this.#options.onBehind('too slow a reader')
  }
}
