-- Signed URLs that can be taken back, or work a number of times (decision 0075). Of the others nothing is written.

-- What was taken back, by a key that says of which URLs it is (src/storage/links/revocation-keys.ts): of these, those that were
-- signed up to a moment.
create table storage.link_revocations (
  key text primary key,
  -- In the order of the commits: servers read from where they know.
  position bigint not null generated always as identity unique,
  moment timestamptz not null,
  -- By then each of them is over.
  expires_at timestamptz not null,
  -- Whoever may take back so many at most; null is the service.
  revoked_by text,
  created_at timestamptz not null default now()
);
--> statement-breakpoint
create index link_revocations_of on storage.link_revocations (revoked_by) where revoked_by is not null;
--> statement-breakpoint
create index link_revocations_over on storage.link_revocations (expires_at);
--> statement-breakpoint
-- How often one was used of those that count it. It comes with the first time.
create table storage.link_uses (
  link_id uuid primary key,
  used integer not null,
  expires_at timestamptz not null
) with (fillfactor = 50);
--> statement-breakpoint
create index link_uses_over on storage.link_uses (expires_at);
--> statement-breakpoint
-- Who may go on with a download that is counted already, and until when.
create table storage.link_downloads (
  link_id uuid not null references storage.link_uses (link_id) on delete cascade,
  -- An address, as limits know it.
  client text not null,
  free_until timestamptz not null,
  -- So many broke off.
  retries integer not null default 0,
  primary key (link_id, client)
);
--> statement-breakpoint
alter table storage.link_revocations enable row level security;
--> statement-breakpoint
alter table storage.link_uses enable row level security;
--> statement-breakpoint
alter table storage.link_downloads enable row level security;
--> statement-breakpoint
revoke all on storage.link_revocations, storage.link_uses, storage.link_downloads from public, anon, authenticated;
--> statement-breakpoint
revoke all on sequence storage.link_revocations_position_seq from public, anon, authenticated;
--> statement-breakpoint
grant all on storage.link_revocations, storage.link_uses, storage.link_downloads to service_role;
