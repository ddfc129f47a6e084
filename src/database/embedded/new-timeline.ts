import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { flushPath } from '../../lib/fsync.ts'
import { type EmbeddedOptions, startEmbedded } from './embedded-postgres.ts'
import { SLOT } from './kept-log.ts'

/**
 * Lets a cluster that was stopped in order go on on a timeline of its own, as one that was restored does: where its log and that
 * of a cluster that it is a copy of are kept in one place, neither is taken for the other's. What it has kept of its log it
 * keeps no more.
 *
 * Died over, it begins anew.
 *
 * @throws EmbeddedPostgresError
 */
export async function beginTimeline(options: Pick<EmbeddedOptions, 'clusterDir' | 'logger'>): Promise<void> {
  const { clusterDir } = options
  await rm(join(clusterDir, 'pg_replslot', SLOT), { recursive: true, force: true })
  await writeFile(join(clusterDir, 'recovery.signal'), '')
  await flushPath(clusterDir)
  const embedded = await startEmbedded({ ...options, settings: RECOVERY })
  await embedded.stop()
}

/** From an archive that has nothing: it ends at once, where the cluster's own log ends, and PostgreSQL chooses the next timeline. */
const RECOVERY = { restore_command: 'false', hot_standby: 'off' }
