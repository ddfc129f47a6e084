import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Hono } from 'hono'
import type { Identity } from '../model/caller.ts'
import type { StorageError } from '../model/errors.ts'
import { isBelow, parseTarget, type RequestTarget } from './request-target.ts'

/**
 * A protocol: where it is spoken, who may come in, and how it says what has gone wrong. The server, admission, the answer
 * to what is no route, the log and whoever else hears of requests ask it, and know of no protocol by themselves.
 */
export interface Surface {
  /** What metrics and audit call it. */
  readonly name: string
  /** Its paths are this one and those below it, as `/upload/resumable`; empty for all that is no other's. */
  readonly prefix: string
  /**
   * For a protocol that has other addresses than its prefix, such as a host: which path below the prefix is meant by one
   * that came there; undefined by what is no such address.
   */
  pathOf?(incoming: IncomingMessage, sent: string): string | undefined
  /** With its prefix in their paths. */
  readonly routes: Hono<{ Bindings: Exchange }>
  /**
   * The step that finds out who asks; null when nothing says so. What a caller has limits of comes behind it.
   *
   * @param headers where a token is looked for, if not where it came
   * @throws what the surface then tells, such as InvalidToken
   */
  authenticate(request: RequestContext, headers?: IncomingHttpHeaders): Promise<Identity | null>
  /** Whether a request is proven by a link that may be in anybody's hands by now, so that its signer is not who asks. */
  isLink?(request: RequestContext): boolean
  /** How an error is said. @param request none when it is the parser that refuses what has come */
  error(error: StorageError, request: RequestContext | undefined): ErrorAnswer
  /** What all its answers carry besides `ALWAYS` and the request's id; errors, refusals and preflights, too. */
  headers?(request: RequestContext): Record<string, string>
  /** Whether a path is answered however busy the server is. */
  isVital?(path: string): boolean
  /** Answers before routing what it has at hand, with 200. Returns whether it has. */
  answerAtOnce?(exchange: Exchange): boolean
  readonly webSockets?: WebSockets
}

/** For a surface that also speaks by WebSocket. */
export interface WebSockets {
  areAskedFor(request: RequestContext): boolean
  /**
   * Makes a request's connection one. @throws why not: nothing has been answered then
   *
   * @returns false when its client has gone, or was no such client and has been told so
   */
  open(request: RequestContext, socket: Socket, head: Buffer): Promise<boolean>
}

export interface ErrorAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

/** What every answer carries, on every surface: browsers are not to guess types. */
export const ALWAYS = { 'X-Content-Type-Options': 'nosniff' }

/** By what somebody may do what he asks for. */
export type Via = 'token' | 'key' | 'signed' | 'share' | 'public'

/** What a request was about, for whoever hears of its end. Never a secret. */
export interface RequestNotes {
  operation?: string
  bucket?: string
  path?: string
  /** In bytes. */
  size?: number
  /** Of these, those that are in the answer. */
  sent?: number
  /** What has gone wrong. */
  failure?: Pick<StorageError, 'code' | 'status'>
  user?: string | null
  role?: string
  via?: Via
  /** An S3 client's access key. */
  credential?: string
  /** The id of the object, where one was found or made. */
  objectId?: string
  /** Of an object that was made of what earlier requests have brought; in bytes. */
  objectSize?: number
  /** Whether an upload has replaced one. */
  isUpdate?: boolean
  /** The id of what is neither a bucket nor an object; or of the version of an object, where one is named. */
  resourceId?: string | undefined
  /** Where a copy or a move goes. */
  target?: { bucket: string; path: string }
  /** What became of each, where a request names many objects. */
  each?: ObjectNote[]
  /** How many of these a lock has kept from being removed, where the request is answered all the same. */
  locked?: number
  /** Whether it has done a part alone of what its operation is. */
  isPart?: boolean
}

/** One of many objects, or of many versions. */
export interface ObjectNote {
  path: string
  /** Which version of it, where one is named. */
  version?: string | undefined
  /** Of one that was found. */
  objectId?: string | undefined
  /** The status that it alone would have been answered with. */
  status: number
}

/** An id that a proxy in front may have given, so that its log and ours can be held together. */
const FOREIGN_ID = /^[\w.:-]{1,100}$/

/** A request, and what is known of it from its first byte to its end. */
export class RequestContext {
  readonly incoming: IncomingMessage
  readonly target: RequestTarget
  readonly surface: Surface
  readonly requestId: string
  /** By `performance.now()`. */
  readonly startedAt = performance.now()
  notes: RequestNotes = {}
  /** What others are told of its trace; undefined where nothing is traced. */
  traceparent: string | undefined

  constructor(incoming: IncomingMessage, surfaces: Surfaces) {
    this.incoming = incoming
    this.target = surfaces.targetOf(incoming)
    this.surface = surfaces.at(this.target.path)
    const sent = incoming.headers['x-request-id']
    this.requestId = typeof sent === 'string' && FOREIGN_ID.test(sent) ? sent : randomUUID()
  }
}

/** A request and its response; Hono calls it the env. */
export class Exchange extends RequestContext {
  readonly outgoing: ServerResponse
  /** Gives back the request's place: what it goes on with has a limit of its own. */
  leave = noPlace
  /** The status of an answer that was written past the response, which knows nothing of it then. */
  rawStatus: number | undefined

  constructor(incoming: IncomingMessage, outgoing: ServerResponse, surfaces: Surfaces) {
    super(incoming, surfaces)
    this.outgoing = outgoing
  }
}

function noPlace(): void {}

/** What every answer to a request carries. */
export function headersOf(request: RequestContext): Record<string, string> {
  return { 'X-Request-Id': request.requestId, ...ALWAYS, ...request.surface.headers?.(request) }
}

/** A method, and a target that may be any bytes (RFC 9112 §3). */
const FIRST_LINE = /^[A-Z]+ (\S+)/

/** As much of it as may tell whose it is. In bytes. */
const MAX_FIRST_LINE = 256

/** The protocols of one HTTP server. */
export class Surfaces {
  /** Has what is no other's, and says what is wrong with bytes that are no request. */
  readonly last: Surface
  /** Those with other addresses than their prefix. */
  readonly #elsewhere: Surface[]

  /**
   * @param all in the order in which they are asked whether a path is theirs
   * @param publicPrefix may stand before all paths
   */
  constructor(
    readonly all: [...others: Surface[], last: Surface],
    readonly publicPrefix: string,
  ) {
    this.last = all[all.length - 1] as Surface // the type says that there is one
    this.#elsewhere = all.filter((surface) => surface.pathOf)
  }

  /** What a request is for, in paths below the surfaces' prefixes. */
  targetOf(incoming: IncomingMessage): RequestTarget {
    const target = parseTarget(incoming, this.publicPrefix)
    for (const surface of this.#elsewhere) {
      const path = surface.pathOf?.(incoming, target.sent)
      if (path !== undefined) return { ...target, prefix: '', path }
    }
    return target
  }

  /** For what is no request: whose path its first line names, if that is among the bytes that cannot be read. */
  meantBy(bytes: Buffer | undefined): Surface {
    const [, url] = FIRST_LINE.exec(bytes?.toString('latin1', 0, MAX_FIRST_LINE) ?? '') ?? []
    return url === undefined ? this.last : this.at(parseTarget({ url }, this.publicPrefix).path)
  }

  at(path: string): Surface {
    for (const surface of this.all) if (isBelow(path, surface.prefix)) return surface
    return this.last
  }
}
