-- Events of what concerns no bucket, and what jobs of backups say besides: that somebody has tried a backup out, and why one
-- is not what was asked for.

alter table storage.events
  -- Null of what concerns all of the server, such as a backup: service_role alone hears of that.
  alter column bucket_id drop not null,
  -- What its type tells besides.
  add column data jsonb;
--> statement-breakpoint
-- It gives the new column, too: see drizzle/functions/events.sql.
drop function if exists storage.read_events(bigint, integer);
--> statement-breakpoint
-- A drill is a job that comes here once it has ended; `parent` is the backup that it was of.
alter table storage.backup_jobs
  drop constraint backup_jobs_kind_check,
  add constraint backup_jobs_kind_check check (kind in ('backup', 'restore', 'drill')),
  -- What whoever asked for it should know, such as why an incremental one is a full one.
  add column note text;
