import type { Logger } from 'pino'
import type { Backend } from '../../backend/backend.ts'
import type { Database } from '../../database/connection/client.ts'
import { releaseHold } from '../../database/queries/backup-holds.ts'
import { type DueRemoval, dueRemovals } from '../../database/queries/drift.ts'
import { removeBytes } from '../../storage/writing/byte-removal.ts'
import { CLEANUP_TURN } from '../turns.ts'

interface Parts {
  database: Database
  backend: Backend
  logger: Logger
}

/** How many removals are carried out at once. */
const PAGE = 500

/** How long a cleanup at work may keep these from their turn, in milliseconds. It does the same itself. */
const TURN_WAIT_MS = 2000

/**
 * Ends a hold, and removes at once what has come onto the list meanwhile, unless another hold is there. What is left of it the
 * cleanup removes, as what an overwrite that has still seen the hold commits behind this. Once the hold has ended this fails no more.
 *
 * @throws DatabaseUnavailable when the hold could not be ended
 */
export async function endHold(parts: Parts, name: string, signal: AbortSignal): Promise<void> {
  const { database, logger } = parts
  await releaseHold(database, name)
  try {
    // In the cleanup's turn, as all that looks at the list: a move of bytes may be bringing them back (`strongroom inline`).
    const work = (lost: AbortSignal) => carryOut(parts, dueOnes(database), AbortSignal.any([signal, lost]))
    await database.exclusively(CLEANUP_TURN, work, { limitMs: TURN_WAIT_MS, signal })
  } catch (error) {
    logger.warn({ err: error }, 'bytes that a backup has held could not be removed; the cleanup will do it')
  }
}

/** The versions that are to be removed, and that nothing keeps but this hold; at most so many. */
export async function versionsHeldBy(database: Database, hold: string, most: number): Promise<Set<string>> {
  const found = new Set<string>()
  for await (const { version } of dueOnes(database, hold)) if (found.add(version).size >= most) break
  return found
}

/**
 * Removes those of `versions` that nothing keeps but this hold. In the cleanup's turn, as all that looks at the list: should
 * somebody else have it, nothing is removed.
 */
export async function removeHeld(
  parts: Parts,
  { hold, versions }: { hold: string; versions: Set<string> },
  signal: AbortSignal,
): Promise<void> {
  const { database } = parts
  const work = (lost: AbortSignal) => {
    const isOver = AbortSignal.any([signal, lost])
    return carryOut(parts, dueOnes(database, hold), isOver, ({ version }) => versions.has(version))
  }
  await database.exclusively(CLEANUP_TURN, work)
}

/** Removes the bytes of those that are wanted, some at once, until it is over. */
async function carryOut(
  parts: Parts,
  removals: AsyncIterable<DueRemoval>,
  isOver: AbortSignal,
  isWanted: (removal: DueRemoval) => boolean = () => true,
): Promise<void> {
  const page: DueRemoval[] = []
  for await (const removal of removals) {
    if (isOver.aborted) return
    if (isWanted(removal) && page.push(removal) >= PAGE) await removeBytes(parts, page.splice(0))
  }
  await removeBytes(parts, page)
}

/**
 * What is to be removed and nothing keeps, but for a hold. One that a row names all the same is for the cleanup to strike off.
 */
async function* dueOnes(database: Database, hold?: string): AsyncGenerator<DueRemoval> {
  let last: DueRemoval | undefined
  do {
    const page: DueRemoval[] = await dueRemovals(database, 0, undefined, last, PAGE, hold)
    last = page.at(-1)
    yield* page.filter(({ isNamed }) => !isNamed)
  } while (last !== undefined)
}
