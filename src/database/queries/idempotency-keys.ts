import type { Database } from '../connection/client.ts'
import { Statement } from '../connection/statement.ts'

/** A key in the hands of one request. */
export interface HeldKey {
  /** A hash of whose key it is, and of the key. */
  id: Buffer
  /** Who holds it. */
  holder: string
}

/** What has become of an attempt to take one (drizzle/functions/idempotency.sql). */
export type TakenKey =
  | { outcome: 'taken' | 'again'; note: string }
  | { outcome: 'done'; request: string; answer: string }
  | { outcome: 'held' | 'other' | 'full' }

export interface KeyRequest {
  /** A hash of whose key it is. */
  owner: Buffer
  /** How many keys its owner may have in a day; null is any number. */
  most: number | null
  /** A hash of all that the request says; null when only its body can tell. */
  request: string | null
  /** What makes its work the same when it is done again. */
  note: string
  /** How long it is held unless that is said again, in milliseconds. */
  holdMs: number
}

/** Takes a key. */
export async function takeKey(
  database: Pick<Database, 'run'>,
  key: HeldKey,
  asked: KeyRequest,
): Promise<TakenKey> {
  const [row] = await database.run(TAKE, { ...key, ...asked })
  return row ?? { outcome: 'held' }
}

const TAKE = new Statement<HeldKey & KeyRequest, TakenKey>(
  'select * from storage.take_key(:id, :owner, :most, :request, :note, :holder, :holdMs)',
)

/** Holds it for so long from now on. Returns whether it is still his. */
export async function holdKey(
  database: Pick<Database, 'run'>,
  key: HeldKey,
  holdMs: number,
): Promise<boolean> {
  const [row] = await database.run(HOLD, { ...key, holdMs })
  return row?.is_held === true
}

const HOLD = new Statement<HeldKey & { holdMs: number }, { is_held: boolean }>(
  'select storage.hold_key(:id, :holder, :holdMs) as is_held',
)

/** Keeps what the request was answered, for who sends it again. */
export async function settleKey(
  database: Pick<Database, 'run'>,
  key: HeldKey,
  request: string,
  answer: string,
): Promise<void> {
  await database.run(SETTLE, { ...key, request, answer })
}

const SETTLE = new Statement<HeldKey & { request: string; answer: string }, object>(
  'select storage.settle_key(:id, :holder, :request, :answer)',
)

/** Gives it up. @param isUndone whether nothing has been done for certain, so that it may be used for another request */
export async function leaveKey(
  database: Pick<Database, 'run'>,
  key: HeldKey,
  isUndone: boolean,
): Promise<void> {
  await database.run(LEAVE, { ...key, isUndone })
}

const LEAVE = new Statement<HeldKey & { isUndone: boolean }, object>(
  'select storage.leave_key(:id, :holder, :isUndone)',
)

/** Takes away up to `most` whose day is over. Returns whether there may be more. */
export async function forgetKeys(database: Pick<Database, 'run'>, most: number): Promise<boolean> {
  const [row] = await database.run(FORGET, { most })
  return row?.count === most
}

const FORGET = new Statement<{ most: number }, { count: number }>(
  'select storage.forget_keys(:most) as count',
)
