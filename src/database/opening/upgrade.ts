import { realpath } from 'node:fs/promises'
import type { Logger } from 'pino'
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
 * @throws EmbeddedPostgresError when a server runs, nothing was kept, or somebody has written since
 */
export async function rollBack(clusterDir: string, logger: Logger): Promise<string> {
  const folder = await realpath(clusterDir)
  const kept = await readKept(folder)
  if (!kept) {
    throw new EmbeddedPostgresError(
      `Of the database in ${folder} nothing was kept from before an upgrade: it is kept for 7 days, and until a start after somebody has written`,
    )
  }
  const embedded = await startEmbedded({ clusterDir, logger }) // which refuses beside a server
  try {
    const { connection, superuser } = embedded
    const endpoint = { address: { ...connection, username: superuser }, isPooler: false }
    const sql = connectTo(endpoint, { max: 1, statementTimeoutMs: 0 })
    const finding = kept.upgradedBy === undefined ? [] : writesSince(sql, kept.upgradedBy)
    const writes = await Promise.resolve(finding).finally(() => sql.end({ timeout: 1 }))
    if (writes.length > 0) throw new EmbeddedPostgresError(whyNotBack(writes))
  } finally {
    await embedded.stop()
  }
  // Before it has the place: whoever starts it must not go on with a log that is another by now (decision 0061).
  await beginTimeline({ clusterDir: beforeUpgrade(folder), logger })
  await bringBack(folder)
  return kept.schema
}

function whyNotBack(writes: Writes[]): string {
  const rows = writes.map(({ table, count }) => `${count.toLocaleString('en')} in ${table}`)
  return (
    `Since the upgrade somebody has written, which would be lost: rows that have come or were changed are ${rows.join(', ')}. ` +
    'Stay with the newer version, or restore a backup'
  )
}
