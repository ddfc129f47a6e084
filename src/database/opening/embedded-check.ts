import { existsSync } from 'node:fs'
import type { Logger } from 'pino'
import type { CheckResult } from '../../model/check-result.ts'
import { openDatabase } from '../connection/client.ts'
import type { DatabaseAddress } from '../connection/place.ts'
import { EmbeddedPostgresError, FolderInUseError } from '../embedded/embedded-error.ts'
import { type EmbeddedPostgres, findRunning, startEmbedded } from '../embedded/embedded-postgres.ts'
import { SUPERUSER } from '../embedded/folder-owner.ts'
import { findPending, isNothing } from '../migrations/migrate.ts'
import { SERVER_ROLE } from '../migrations/roles.ts'
import { checkLogin, type OpenedForCheck } from './check.ts'

/** Whether the embedded database works: that of the running server, or else started for the check. */
export async function* checkEmbedded(
  clusterDir: string,
  logger: Logger,
  opened: OpenedForCheck,
): AsyncGenerator<CheckResult> {
  const about = 'database'
  if (!existsSync(clusterDir)) {
    // A check in the wrong folder finds all of this well, too.
    const says =
      `none yet, so no server was ever started here; the first start makes one in ${clusterDir}. ` +
      'If there is one, check where it was started, or set STORAGE_DATA_DIR'
    yield { about, state: 'warning', says }
    return
  }
  try {
    const running = await findRunning(clusterDir)
    const started = running ? undefined : await startUnlessRunning(clusterDir, logger)
    if (started) opened.closers.push(() => started.stop())
    const place = started?.connection ?? running ?? (await findRunning(clusterDir))
    if (!place) throw new EmbeddedPostgresError(`The database in ${clusterDir} comes and goes: try again`)
    const whose = started ? 'started for this check' : 'of the running server'
    yield { about, state: 'ok', says: `the built-in PostgreSQL in ${clusterDir}, ${whose}` }

    if (!(await isMigrated({ ...place, username: SUPERUSER }))) {
      yield {
        about: 'database tables',
        state: 'ok',
        says: 'the next start of the server brings them up to date',
      }
      return
    }
    yield { about: 'database tables', state: 'ok', says: 'up to date' }
    const database = openDatabase({ ...place, username: SERVER_ROLE }, { connections: 1 })
    opened.closers.push(() => database.close())
    yield* checkLogin(database)
    opened.database = database
  } catch (error) {
    yield { about, state: 'failed', says: (error as Error).message }
  }
}

/** Undefined when a server of another process has been faster. */
async function startUnlessRunning(clusterDir: string, logger: Logger): Promise<EmbeddedPostgres | undefined> {
  try {
    return await startEmbedded({ clusterDir, logger })
  } catch (error) {
    if (error instanceof FolderInUseError) return undefined
    throw error
  }
}

async function isMigrated(address: DatabaseAddress): Promise<boolean> {
  const database = openDatabase(address, { connections: 1 })
  try {
    return isNothing(await findPending(database.sql))
  } finally {
    await database.close()
  }
}
