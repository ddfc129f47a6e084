import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Beyond the limit. In these only health checks are answered; the others are told to come back later. */
const RESERVE = 100

/** Requests that one connection may send before it has had the answers to those before. */
const MOST_PIPELINED = 100

/**
 * The open connections of a server. When there are too many, a new one takes the place of the one that has been without a
 * request for the longest time: a crowd that opens connections and says nothing, or dribbles its headers, keeps nobody out.
 * Only when all are busy a new one is surplus: it gets a place in a reserve, for one request. When that is full too, it
 * takes the place of the one that has been there for the longest time, so that none is kept out for good.
 */
export class Connections {
  /** Without the reserve. */
  readonly most: number
  readonly #reserve: number
  readonly #open = new Map<Socket, Set<ServerResponse>>()
  /** Without a request now, the longest so first. */
  readonly #idle = new Set<Socket>()
  /** Those in the reserve, the longest there first. */
  readonly #surplus = new Set<Socket>()
  #areLeaving = false

  constructor(most: number) {
    this.most = most
    this.#reserve = Math.min(most, RESERVE)
  }

  get open(): number {
    return this.#open.size
  }

  /** Beyond this many the kernel's connections are closed without a word. There is always room for a newcomer. */
  get dropFrom(): number {
    return this.most + this.#reserve + 1
  }

  /** One that is known already changes nothing: `http-server.ts` hands in a connection again after a refused upgrade. */
  add(socket: Socket): void {
    if (this.#open.has(socket)) return
    this.#open.set(socket, new Set())
    socket.once('close', () => this.#end(socket))
    if (this.#open.size > this.most) this.#makeRoom(socket)
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
    if (this.#areLeaving || this.isSurplus(socket)) outgoing.shouldKeepAlive = false
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
   * counted then; the connection has been used all the same. One in the reserve is not for that.
   */
  isQuiet(socket: Socket): boolean {
    if (this.#open.get(socket)?.size !== 0 || !socket.writable || socket.writableLength > 0) return false
    if (this.#areLeaving || this.isSurplus(socket)) return false
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
    return this.#surplus.size > 0 && this.#surplus.has(socket)
  }

  /** Whether the server is about to stop: a balancer is to send its requests elsewhere. */
  get areLeaving(): boolean {
    return this.#areLeaving
  }

  /** From now on each is closed behind its answer, so that none waits for another request when the server stops. */
  leave(): void {
    this.#areLeaving = true
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
    for (const socket of this.#idle) {
      // Its client is still reading an answer from memory, or has not had time yet to ask for its health.
      if (socket.writableLength > 0 || this.isSurplus(socket)) continue
      this.#idle.delete(socket)
      socket.destroy()
      return
    }
    if (this.#surplus.size >= this.#reserve) this.#makeRoomInReserve()
    this.#surplus.add(newcomer)
  }

  /** Whoever waits for an answer goes last. */
  #makeRoomInReserve(): void {
    let longest: Socket | undefined
    for (const socket of this.#surplus) {
      longest ??= socket
      if (!this.#idle.has(socket)) continue
      longest = socket
      break
    }
    if (!longest) return
    this.#surplus.delete(longest)
    this.#idle.delete(longest)
    longest.destroy()
  }

  #end(socket: Socket): void {
    const unanswered = this.#open.get(socket) ?? []
    this.#open.delete(socket)
    this.#idle.delete(socket)
    this.#surplus.delete(socket)
    const [next] = this.#surplus
    if (next && this.#surplus.size > this.#open.size - this.most) this.#surplus.delete(next)
    for (const outgoing of unanswered) {
      // Node tells the one that was being sent. Those that wait behind it would never hear of it, and with them
      // their files would stay open.
      if (outgoing.socket !== null || outgoing.writableFinished) continue
      outgoing.destroy()
      outgoing.emit('close')
    }
  }
}
