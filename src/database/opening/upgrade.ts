import { realpath } from 'node:fs/promises'
import type { Logger } from 'pino'
import type postgres from '#postgres'
import { formatByteSize } from '../../lib/units.ts'
import { openDatabase } from '../connection/client.ts'
import { connectTo } from '../connection/connection.ts'
import {
  beforeUpgrade,
  bringBack,
  forgetKept,
  keepCluster,
  noteUpgraded,
  readKept,
} from '../embedded/before-upgrade.ts'
import { EmbeddedPostgresError } from '../embedded/embedded-error.ts'
import { type EmbeddedPostgres, startEmbedded } from '../embedded/embedded-postgres.ts'
import { beginTimeline } from '../embedded/new-timeline.ts'
import { findPending } from '../migrations/migrate.ts'
import { countKeptVersions } from '../queries/kept-versions.ts'
import { currentTransaction, type Writes, writesSince } from '../queries/writes-since.ts'

/** So long an upgrade may be taken back while nobody has written. In milliseconds. */
const KEPT_MS = 7 * 86_400_000

/**
 * Keeps the cluster as it is, if the tables in it are about to be migrated: for that PostgreSQL is stopped.
 *
 * @returns whether it was stopped, and has to be started again
 */
export async function keepBeforeUpgrade(
  embedded: EmbeddedPostgres,
  clusterDir: string,
  logger: Logger,
): Promise<boolean> {
  const { connection, superuser } = embedded
  const { sql, close } = openDatabase({ ...connection, username: superuser }, { connections: 1 })
  const { migrations, from } = await findPending(sql).finally(close)
  if (migrations.length === 0 || from === undefined) return false
  await embedded.stop()
  const folder = await realpath(clusterDir)
  const why = await keepCluster(folder, from)
  const kept = await readKept(folder)
  if (kept) {
    logger.info(
      { folder: beforeUpgrade(folder), size: kept.size },
      `the database is kept as it was, ${formatByteSize(kept.size)}: \`strongroom rollback\` brings it back while nobody has written`,
    )
  } else {
    logger.warn({ folder }, `the upgrade of the database cannot be taken back: ${why}`)
  }
  return true
}

/** Notes that an upgrade has ended, before anybody is served; and forgets what was kept once it is of no use. */
export async function settleUpgrade(
  embedded: EmbeddedPostgres,
  clusterDir: string,
  logger: Logger,
): Promise<void> {
  const folder = await realpath(clusterDir)
  const kept = await readKept(folder)
  if (!kept) return
  const { connection, superuser } = embedded
  const address = { ...connection, username: superuser }
  const sql = connectTo({ address, isPooler: false }, { max: 1, statementTimeoutMs: 0 })
  try {
    if (kept.upgradedBy === undefined) {
      await noteUpgraded(folder, kept, await currentTransaction(sql))
      return
    }
    const isOld = Date.now() - Date.parse(kept.madeAt) > KEPT_MS
    if (!isOld && (await writesSince(sql, kept.upgradedBy)).length === 0) return
    await forgetKept(folder)
    logger.info({ size: kept.size }, 'the database from before the upgrade was removed')
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/**
 * Brings the database back from before its tables were migrated, in the place of what it is now.
 *
 * @returns what its tables are like
 * @throws EmbeddedPostgresError when a server runs, nothing was kept, or somebody has written, or deleted versions, since
 */
export async function rollBack(clusterDir: string, logger: Logger): Promise<string> {
  const folder = await realpath(clusterDir)
  const kept = await readKept(folder)
  if (!kept) {
    throw new EmbeddedPostgresError(
      `Of the database in ${folder} nothing was kept from before an upgrade: it is kept for 7 days, and until a start after somebody has written`,
    )
  }
  const moment = new Date()
  // Which refuses beside a server.
  const { writes, versions } = await inCluster(clusterDir, logger, async (sql) => ({
    writes: kept.upgradedBy === undefined ? [] : await writesSince(sql, kept.upgradedBy),
    versions: await countKeptVersions(sql, moment),
  }))
  if (writes.length > 0) throw new EmbeddedPostgresError(whyNotBack(writes))
  // Before it is started for anything else: whoever starts it must not go on with a log that is another by now (decision 0061).
  const former = beforeUpgrade(folder)
  await beginTimeline({ clusterDir: former, logger })
  // Their bytes are gone. None has come, or that had been found above.
  const deleted = (await inCluster(former, logger, (sql) => countKeptVersions(sql, moment))) - versions
  if (deleted > 0) {
    throw new EmbeddedPostgresError(
      `Since the upgrade somebody has deleted former versions for good, ${deleted.toLocaleString('en')}: their rows would come back ` +
        'without their bytes. Stay with the newer version, or restore a backup',
    )
  }
  await bringBack(folder)
  return kept.schema
}

/** What is found in a cluster that runs for that alone. */
async function inCluster<T>(
  clusterDir: string,
  logger: Logger,
  find: (sql: postgres.Sql) => Promise<T>,
): Promise<T> {
  const embedded = await startEmbedded({ clusterDir, logger })
  try {
    const { connection, superuser } = embedded
    const endpoint = { address: { ...connection, username: superuser }, isPooler: false }
    const sql = connectTo(endpoint, { max: 1, statementTimeoutMs: 0 })
    return await find(sql).finally(() => sql.end({ timeout: 1 }))
  } finally {
    await embedded.stop()
  }
}

function whyNotBack(writes: Writes[]): string {
  const rows = writes.map(({ table, count }) => `${count.toLocaleString('en')} in ${table}`)
  return (
    `Since the upgrade somebody has written, which would be lost: rows that have come or were changed are ${rows.join(', ')}. ` +
    'Stay with the newer version, or restore a backup'
  )
}
