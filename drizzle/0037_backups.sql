-- Backups and restores, what became of them, and what keeps bytes from being removed meanwhile (decision 0058).

create table storage.backup_jobs (
  -- A UUID of version 7: in their order jobs were asked for. A backup lies under it in its target.
  id uuid primary key,
  kind text not null check (kind in ('backup', 'restore')),
  -- Null for a restore.
  type text check (type in ('full', 'incremental')),
  status text not null default 'pending' check (
    status in ('pending', 'running', 'completed', 'failed', 'expired', 'restoring', 'restored')
  ),
  -- The folder or s3:// URL where the backup lies.
  target text not null,
  -- Of an incremental backup, the one that it builds on; of a restore, the one that it brings back.
  parent uuid,
  description text not null default '' check (length(description) <= 1000),
  -- Null is all.
  buckets text[],
  include_versions boolean not null default true,
  include_trash boolean not null default false,
  -- What else was asked for.
  request jsonb not null default '{}' check (jsonb_typeof(request) = 'object'),
  -- Null is as the server that runs it is set.
  retention_days integer check (retention_days > 0),
  progress double precision not null default 0 check (progress between 0 and 1),
  object_count bigint not null default 0,
  total_bytes bigint not null default 0,
  -- Objects whose bytes were missing, or not those that were uploaded.
  damaged bigint not null default 0,
  started_at timestamptz,
  completed_at timestamptz,
  -- Of a backup; null is never.
  expires_at timestamptz,
  error text,
  created_at timestamptz not null default now(),
  -- Whose token it was, or who else has asked.
  created_by text not null default '',
  -- Somebody wants it deleted: from then on it is there for nobody, and a server removes what lies in the target.
  deleted_at timestamptz
);
--> statement-breakpoint
-- One at a time, on all servers together.
create unique index backup_jobs_one_at_a_time on storage.backup_jobs ((true))
  where status in ('pending', 'running', 'restoring');
--> statement-breakpoint
-- While one of these is there, no bytes are removed that a row has named (drizzle/functions/versions.sql).
create table storage.backup_holds (
  name text primary key,
  -- Whose it is, and ends with; null when it stays until somebody takes it away.
  job uuid references storage.backup_jobs on delete cascade,
  created_at timestamptz not null default now()
);
--> statement-breakpoint
alter table storage.backup_jobs enable row level security;
--> statement-breakpoint
alter table storage.backup_holds enable row level security;
--> statement-breakpoint
revoke all on storage.backup_jobs, storage.backup_holds from public, anon, authenticated;
--> statement-breakpoint
grant all on storage.backup_jobs, storage.backup_holds to service_role;
