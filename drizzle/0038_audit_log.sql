-- Who has done what (docs/audit.md, decision 0062). A part for each month, in the schema strongroom, so that old ones are dropped
-- whole; storage.make_audit_month makes them (drizzle/functions/audit.sql).
create table storage.audit_log (
  -- When the request was over, by the server's clock.
  at timestamptz not null,
  id uuid not null,
  action text not null,
  -- object, bucket, webhook, credential or backup.
  resource_type text not null,
  -- Of what is no object: its id, where the request has told or made one.
  resource_id text,
  user_id text,
  -- Null for who has not proved any.
  role text,
  -- Of an object that was found; by it an object is told from another one that had its name before.
  file_id uuid,
  bucket text,
  path text,
  -- Of a move or a copy: where to, as <bucket>/<path>.
  target text,
  -- False for what was refused, or answered as if it were not there.
  allowed boolean not null,
  -- Of HTTP, by Strongroom's own rules in compat mode, too.
  status smallint not null,
  -- Of the object.
  bytes bigint,
  address inet,
  user_agent text,
  request_id text,
  -- token, key, signed, share or public.
  via text,
  -- The access key of an S3 client.
  credential text,
  -- So many more like this one had no row of their own.
  repeated integer not null default 0,
  primary key (at, id)
) partition by range (at);
--> statement-breakpoint
-- One for each filter of GET /audit, with what its rows are sorted by.
create index audit_log_user on storage.audit_log (user_id, at) where user_id is not null;
--> statement-breakpoint
create index audit_log_file on storage.audit_log (file_id, at) where file_id is not null;
--> statement-breakpoint
create index audit_log_bucket on storage.audit_log (bucket, at) where bucket is not null;
--> statement-breakpoint
-- A path may be longer than what an index takes.
create index audit_log_path on storage.audit_log (hashtextextended(bucket || '/' || path, 0), at) where path is not null;
--> statement-breakpoint
-- Of what there is most of, any stretch of time has some: those are found by the primary key. Each index costs every entry.
create index audit_log_action on storage.audit_log (action, at) where action not in ('upload', 'download');
--> statement-breakpoint
create index audit_log_role on storage.audit_log (role, at) where role not in ('anon', 'authenticated');
--> statement-breakpoint
create index audit_log_refused on storage.audit_log (at) where not allowed;
--> statement-breakpoint
alter table storage.audit_log enable row level security;
--> statement-breakpoint
revoke all on storage.audit_log from public, anon, authenticated, service_role;
--> statement-breakpoint
-- To read it. What is in it is written by a function, and goes with its month.
grant select on storage.audit_log to service_role;
