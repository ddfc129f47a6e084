-- What buckets, or all of them, get rid of by themselves (docs/versions.md).
create table storage.lifecycle_policies (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(name) <= 255),
  -- Null is all buckets. A bucket has one at most: S3 knows one configuration of it.
  bucket_id text unique references storage.buckets (id) on delete cascade,
  enabled boolean not null default true,
  -- The lowest one comes first.
  priority integer not null default 100,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
--> statement-breakpoint
create table storage.policy_rules (
  policy_id uuid not null references storage.lifecycle_policies (id) on delete cascade,
  -- In this order they are asked.
  position integer not null,
  rule_id text not null check (length(rule_id) between 1 and 255),
  enabled boolean not null default true,
  action text not null
    check (action in ('delete', 'delete_old_versions', 'delete_markers', 'purge_trash', 'abort_uploads')),
  after_days integer check (after_days between 0 and 36500),
  -- Instead of the days.
  on_date date,
  based_on text not null check (based_on in ('created_at', 'updated_at', 'archived_at')),
  keep_versions integer not null default 0 check (keep_versions between 0 and 1000),
  -- What it is about: what is null or empty says nothing.
  prefix text not null default '',
  tags text[] not null default '{}',
  content_type text,
  min_size bigint check (min_size >= 0),
  max_size bigint check (max_size >= 0),
  primary key (policy_id, position),
  unique (policy_id, rule_id, action),
  check (num_nonnulls(after_days, on_date) = 1)
);
--> statement-breakpoint
-- "Which unfinished uploads of a bucket are that old?"
create index resumable_uploads_of_bucket on storage.resumable_uploads (bucket_id, created_at, id) where ended is null;
--> statement-breakpoint
alter table storage.lifecycle_policies enable row level security;
--> statement-breakpoint
alter table storage.policy_rules enable row level security;
--> statement-breakpoint
revoke all on storage.lifecycle_policies, storage.policy_rules from public, anon, authenticated;
--> statement-breakpoint
grant all on storage.lifecycle_policies, storage.policy_rules to service_role;
