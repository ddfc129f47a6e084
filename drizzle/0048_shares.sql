-- Shares: an object for whoever has the link (decision 0076).

create table storage.shares (
  share_id text primary key,
  -- No foreign key: the row leaves `objects` for the trash, and may come back.
  object_id uuid not null,
  -- Null is the service.
  shared_by text,
  -- In whose name an object is deleted through it.
  sharer_role text not null,
  sharer_claims jsonb not null,
  shared_with text,
  shared_with_email text,
  permissions jsonb not null,
  -- One of both: scrypt with its cost and salt, or SHA-256 in base64url.
  password_hash text,
  token_hash text,
  expires_at timestamptz not null,
  max_downloads integer,
  download_count integer not null default 0,
  last_downloaded_at timestamptz,
  is_active boolean not null default true,
  revoked_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- How many wrong secrets came in the minute that began then.
  wrong_secrets integer not null default 0,
  wrong_since timestamptz not null default '-infinity'
) with (fillfactor = 50);
--> statement-breakpoint
create index shares_of_object on storage.shares (object_id) where is_active;
--> statement-breakpoint
create index shares_newest on storage.shares (created_at, share_id);
--> statement-breakpoint
create index shares_by on storage.shares (shared_by, created_at, share_id);
--> statement-breakpoint
create index shares_with on storage.shares (shared_with, created_at, share_id) where shared_with is not null;
--> statement-breakpoint
create index shares_with_email on storage.shares (shared_with_email) where shared_with_email is not null;
--> statement-breakpoint
create index shares_over on storage.shares (expires_at);
--> statement-breakpoint
alter table storage.shares enable row level security;
--> statement-breakpoint
revoke all on storage.shares from public, anon, authenticated;
--> statement-breakpoint
grant all on storage.shares to service_role;
--> statement-breakpoint
create policy "strongroom: the service has all shares" on storage.shares to service_role using (true) with check (true);
