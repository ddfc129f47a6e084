import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Beyond the limit, for health checks, and to tell the others to come back later. */
const SPARE = 100

/** Requests that one connection may send before it has had the answers to those before. */
const MOST_PIPELINED = 100

/**
 * The open connections of a server. When there are too many, a new one takes the place of the one that has been without a
 * request for the longest time: a crowd that opens connections and says nothing, or dribbles its headers, keeps nobody out.
 * Only when all are busy a new one is surplus, and is told so; far beyond, they are dropped.
 */
export class Connections {
  readonly #most: number
  readonly #open = new Map<Socket, Set<ServerResponse>>()
  /** Without a request now, the longest so first. */
  readonly #idle = new Set<Socket>()
  readonly #surplus = new WeakSet<Socket>()

  constructor(most: number) {
    this.#most = most
  }

  /** Beyond this many the kernel's connections are closed without a word. */
  get dropFrom(): number {
    return this.#most + Math.min(this.#most, SPARE)
  }

  /** One that is known already changes nothing: `http-server.ts` hands in a connection again after a refused upgrade. */
  add(socket: Socket): void {
    if (this.#open.has(socket)) return
    this.#open.set(socket, new Set())
    socket.once('close', () => this.#end(socket))
    if (this.#open.size > this.#most) this.#makeRoom(socket)
    this.#idle.add(socket)
  }

  /**
   * A request has come. One too many of those that wait on their connection ends it.
   *
   * @returns false if the connection is gone: what came before is still read, and nobody waits for an answer
   */
  begin(socket: Socket, outgoing: ServerResponse): boolean {
    const unanswered = this.#open.get(socket)
    if (!unanswered || socket.destroyed) return false
    this.#idle.delete(socket)
    unanswered.add(outgoing)
    outgoing.once('close', () => {
      unanswered.delete(outgoing)
      if (unanswered.size === 0 && this.#open.has(socket)) this.#idle.add(socket)
    })
    if (unanswered.size > MOST_PIPELINED) socket.destroy()
    return !socket.destroyed
  }

  /**
   * Whether nothing else is under way on a connection, so that an answer that is there goes out at once. It need not be
   * counted then; the connection has been used all the same.
   */
  isQuiet(socket: Socket): boolean {
    if (this.#open.get(socket)?.size !== 0 || !socket.writable || socket.writableLength > 0) return false
    this.#idle.delete(socket)
    this.#idle.add(socket)
    return true
  }

  /** It has become a WebSocket. */
  keep(socket: Socket): void {
    this.#idle.delete(socket)
  }

  /** Whether it came when all others were busy, and there are still too many. */
  isSurplus(socket: Socket): boolean {
    return this.#surplus.has(socket) && this.#open.size > this.#most
  }

  /**
   * Closes those that wait for another request.
   *
   * @param unused also those that wait for their first one: browsers open some in advance. It may be on its way, though
   */
  closeQuiet({ unused }: { unused: boolean }): void {
    for (const socket of this.#idle) {
      if (socket.writableLength === 0 && (unused || socket.bytesRead > 0)) socket.destroy()
    }
  }

  #makeRoom(newcomer: Socket): void {
    let longest: Socket | undefined
    for (const socket of this.#idle) {
      if (socket.writableLength > 0) continue // its client is still reading an answer from memory
      longest = socket
      break
    }
    if (longest === undefined) {
      this.#surplus.add(newcomer)
      return
    }
    this.#idle.delete(longest)
    longest.destroy()
  }

  #end(socket: Socket): void {
    const unanswered = this.#open.get(socket) ?? []
    this.#open.delete(socket)
    this.#idle.delete(socket)
    for (const outgoing of unanswered) {
      // Node tells the one that was being sent. Those that wait behind it would never hear of it, and with them
      // their files would stay open.
      if (outgoing.socket !== null || outgoing.writableFinished) continue
      outgoing.destroy()
      outgoing.emit('close')
    }
  }
}
