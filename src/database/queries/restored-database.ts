import { sql } from 'drizzle-orm'
import { asService } from '../as-caller.ts'
import type { Database } from '../connection/client.ts'
import { type Former, whichFormer } from './former.ts'

/**
 * Takes out of a copy of the database what of the past the backup does not have: its bytes are not there.
 *
 * @throws DatabaseUnavailable
 */
export async function forgetLeftOut(database: Database, former: Former): Promise<void> {
  await asService(database, (tx) =>
    tx.execute(sql`delete from storage.object_versions where not ${sql.raw(whichFormer(former))}`),
  )
}

/**
 * Takes out of a restored database what was under way at its moment, and has no bytes in a backup: unfinished uploads, and
 * bytes that were to be removed. Backups that ran then do not run here.
 *
 * @throws DatabaseUnavailable
 */
export async function forgetUnfinished(database: Database): Promise<void> {
  await asService(database, async (tx) => {
    await tx.execute(sql`delete from storage.s3_multipart_uploads`)
    await tx.execute(sql`delete from storage.resumable_uploads`)
    await tx.execute(sql`delete from storage.uploads`)
    await tx.execute(sql`delete from storage.removals`) // what the deletes before have put there, too
    await tx.execute(sql`delete from storage.backup_holds`)
    await tx.execute(sql`update storage.backup_jobs set status = 'failed', error = 'the database was restored meanwhile'
      where status in ('pending', 'running', 'restoring')`)
  })
}
