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
-- A database may give callers' roles all on each new table and sequence, as Supabase's do: RLS guards against none of
-- TRUNCATE, TRIGGER, or setval, nor a table that has no RLS. What they shall have of ours they are given by name.
do $$
declare
  ours record;
begin
  for ours in
    select c.oid::regclass as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind
    from pg_catalog.pg_class c
    where c.relnamespace in ('storage'::regnamespace, 'strongroom'::regnamespace) and c.relkind in ('r', 'v', 'S')
      and c.relname not in ('buckets', 'objects') and pg_has_role(c.relowner, 'usage')
  loop
    execute format('revoke all on %s %s from public, anon, authenticated', ours.kind, ours.name);
  end loop;
end $$;
--> statement-breakpoint
grant select on storage.s3_multipart_uploads, storage.s3_multipart_uploads_parts to anon, authenticated;
--> statement-breakpoint
grant select on strongroom.bucket_rules to anon, authenticated;
--> statement-breakpoint
revoke all on storage.strongroom_migrations from service_role;
--> statement-breakpoint
-- It tells more now, which `create or replace` does not allow (drizzle/functions/buckets.sql).
drop function storage.bucket_settings(text);
