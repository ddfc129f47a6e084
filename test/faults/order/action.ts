import type { Contents, Made } from './contents.ts'
import { type Content, NOTHING, type Told } from './linearizability.ts'
import type { Reply, Session } from './session.ts'

/** A name, and what an action may know and use. */
export interface Target {
  bucket: string
  name: string
  isPublic: boolean
  /** What somebody has read there last, if anything. */
  seen: { content: Content; etag: string } | undefined
  contents: Contents
  session: Session
  /** Bytes that nobody else writes. */
  make(): Made
  /** A name in that bucket that nobody else uses. */
  newName(): string
}

/** One operation on the name. */
export interface Attempt {
  /** What it does if it takes place; nothing, of a read. */
  wants?: Told
  /** @returns what the answer tells; undefined when nobody knows what became of it */
  ask(): Promise<Told | undefined>
}

/** A way to ask for something. */
export interface Action {
  /** As in messages. */
  what: string
  /** How often it is chosen, beside the others. */
  weight: number
  /** Of a public object, whether the answer may come from memory. */
  mayBeFromMemory?: boolean
  /** Undefined when it needs something that is not there. */
  on(target: Target): Attempt | undefined
}

/** An answer that no client should get, whatever has failed. */
export class StrangeAnswer extends Error {
  override readonly name = 'StrangeAnswer'

  constructor({ status, bytes }: Reply) {
    super(`${status} ${bytes.toString('utf8', 0, 300)}`)
  }
}

/** What an answer tells, by its status. @throws StrangeAnswer */
export function byStatus(
  reply: Reply | undefined,
  answers: Record<number, Told | ((reply: Reply) => Told)>,
): Told | undefined {
  if (reply === undefined) return undefined
  const told = answers[reply.status]
  if (told === undefined) throw new StrangeAnswer(reply)
  return typeof told === 'function' ? told(reply) : told
}

/** Whether a step that comes before the operation itself has succeeded. @throws StrangeAnswer */
export function isDone(reply: Reply | undefined, status: number): reply is Reply {
  if (reply !== undefined && reply.status !== status) throw new StrangeAnswer(reply)
  return reply !== undefined
}

/** An operation of one request. */
export function once(
  wants: Told | undefined,
  send: () => Promise<Reply | undefined>,
  answers: Record<number, Told | ((reply: Reply) => Told)>,
): Attempt {
  return { ...(wants && { wants }), ask: async () => byStatus(await send(), answers) }
}

export const FREE: Told = { is: NOTHING }
export const TAKEN: Told = { not: NOTHING }
/** It has not come to that. */
export const NOT_ASKED: Told = {}
export const found = (content: Content): Told => ({ is: content })
export const other = (content: Content): Told => ({ not: content })
/** Whatever was there. */
export const left = (content: Content): Told => ({ leaves: content })
export const created = (content: Content): Told => ({ is: NOTHING, leaves: content })
export const replaced = (content: Content): Told => ({ not: NOTHING, leaves: content })
export const exchanged = (before: Content, content: Content): Told => ({ is: before, leaves: content })
