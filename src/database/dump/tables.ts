/**
 * The tables of the schema `storage`, and who takes them along. A table that comes with a migration gets its place here
 * (test/database/dump/tables.test.ts).
 */

export interface CarriedTable {
  name: string
  /** Whether a backup has it: rows of what was stored. `with keys`: only one that was asked to have secrets, too. */
  backup: boolean | 'with keys'
  /** Whether it goes along when the whole database goes elsewhere, and the bytes stay where they are. */
  move: boolean
  /** Columns with secrets in them, which only a backup with keys and a move have. */
  secrets?: string[]
  /** Text columns by which its rows are sorted before the primary key, for who reads another list beside them. */
  sortedBy?: string[]
  /** Columns that mean something in the one cluster alone, and begin anew elsewhere. */
  local?: string[]
}

/** In an order in which their rows can be written: what is referred to comes first. */
export const TABLES: CarriedTable[] = [
  { name: 'buckets', backup: true, move: true },
  // What they get rid of by themselves.
  { name: 'lifecycle_policies', backup: true, move: true },
  { name: 'policy_rules', backup: true, move: true },
  // Before the objects, which are told apart by whether their bytes are here.
  { name: 'inline_bytes', backup: true, move: true },
  { name: 'objects', backup: true, move: true, sortedBy: ['version'] },
  // What was there before: versions, markers and the trash.
  { name: 'object_versions', backup: true, move: true, sortedBy: ['version'] },
  { name: 'object_locks', backup: true, move: true },
  // The ETags of objects that came in parts.
  { name: 'version_parts', backup: true, move: true },
  // By which the cleanup knows which bytes in a data folder or store are this database's to remove.
  { name: 'former_buckets', backup: true, move: true },
  { name: 'webhooks', backup: true, move: true, secrets: ['secret'] },
  // Signed URLs that were taken back, and how often others were used: they outlive what is restored.
  { name: 'link_revocations', backup: true, move: true },
  { name: 'link_uses', backup: true, move: true },
  // Of their secrets they have hashes alone.
  { name: 'shares', backup: true, move: true },
  // Who may go on with a download, for a minute.
  { name: 'link_downloads', backup: false, move: true },
  // Sealed, with the key in keys.json: without that they are of no use.
  { name: 'credentials', backup: 'with keys', move: true },

  // What has been handed out, to whom, and what waits. A restored server tells what happens from then on: those events
  // that were told before its moment would come twice, and those after it were about objects that are not there.
  { name: 'events', backup: false, move: true },
  { name: 'event_order', backup: false, move: true },
  { name: 'event_sinks', backup: false, move: true },
  { name: 'webhook_deliveries', backup: false, move: true },

  // Unfinished uploads. Their pieces are in the backend, of which a backup has finished versions alone.
  { name: 'uploads', backup: false, move: true },
  { name: 'resumable_uploads', backup: false, move: true },
  { name: 's3_multipart_uploads', backup: false, move: true },
  { name: 's3_multipart_uploads_parts', backup: false, move: true },
  { name: 'part_claims', backup: false, move: true },
  // Bytes that are still to be removed: a backup does not have them, and who moves still owes it.
  { name: 'removals', backup: false, move: true, local: ['transaction'] },

  // Who has done what. It is more than all other rows in time, and has an export of its own (docs/audit.md).
  { name: 'audit_log', backup: false, move: true },

  // How far work in this store has come.
  { name: 'scrubs', backup: false, move: true },
  { name: 'moves', backup: false, move: true },
  { name: 'backup_jobs', backup: false, move: true },
  // Of a backup that runs, which none does while a database goes elsewhere, and of a log that begins anew there.
  { name: 'backup_holds', backup: false, move: false },
  // Every database has its own, which says what its tables are.
  { name: 'strongroom_migrations', backup: false, move: false },
]
