-- The bytes of small objects, which are written with their rows (decision 0052). An object whose bytes are here has
-- storage.inline_bucket() as its bytes_bucket.
create table storage.inline_bytes (
  version uuid primary key,
  bytes bytea not null,
  created_at timestamptz not null default now()
);
--> statement-breakpoint
-- What is stored is mostly compressed already: to try it again only costs time.
alter table storage.inline_bytes alter column bytes set storage external;
--> statement-breakpoint
alter table storage.inline_bytes enable row level security;
--> statement-breakpoint
grant all on storage.inline_bytes to service_role;
--> statement-breakpoint
-- It tells more now, which `create or replace` does not allow (drizzle/functions/buckets.sql).
drop function storage.bucket_settings(text);
