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
const PAGE = 200

/** The same, of those that only one hold keeps. */
const HELD_PAGE = 500

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
    await database.exclusively(CLEANUP_TURN, (lost) => carryOut(parts, AbortSignal.any([signal, lost])), {
      limitMs: TURN_WAIT_MS,
      signal,
    })
  } catch (error) {
    logger.warn({ err: error }, 'bytes that a backup has held could not be removed; the cleanup will do it')
  }
}

async function carryOut(parts: Parts, signal: AbortSignal): Promise<void> {
  let last: DueRemoval | undefined
  do {
    const page: DueRemoval[] = await dueRemovals(parts.database, 0, undefined, last, PAGE)
    last = page.at(-1)
    // One that a row names all the same is for the cleanup to strike off.
    await removeBytes(
      parts,
      page.filter(({ isNamed }) => !isNamed),
    )
  } while (last !== undefined && !signal.aborted)
}

/** The versions that are to be removed, and that nothing keeps but this hold; at most so many. */
export async function versionsHeldBy(database: Database, hold: string, most: number): Promise<Set<string>> {
  const found = new Set<string>()
  for await (const { version } of heldBy(database, hold)) if (found.add(version).size >= most) break
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
  await parts.database.exclusively(CLEANUP_TURN, async (lost) => {
    const page: DueRemoval[] = []
    const remove = () => removeBytes(parts, page.splice(0))
    for await (const removal of heldBy(parts.database, hold)) {
      if (signal.aborted || lost.aborted) return
      if (versions.has(removal.version) && page.push(removal) >= HELD_PAGE) await remove()
    }
    await remove()
  })
}

/** None while another hold keeps them, too. One that a row names all the same is for the cleanup to strike off. */
async function* heldBy(database: Database, hold: string): AsyncGenerator<DueRemoval> {
  let last: DueRemoval | undefined
  do {
    const page: DueRemoval[] = await dueRemovals(database, 0, undefined, last, HELD_PAGE, hold)
    last = page.at(-1)
    yield* page.filter(({ isNamed }) => !isNamed)
  } while (last !== undefined)
}
