-- The two lists that keep rows and bytes together (design §3, §6): versions being written, and versions to
-- remove. Only the server touches them.

create table storage.uploads (
  version uuid primary key,
  bucket_uid uuid not null,
  bucket_id text not null,
  name text collate "C" not null,
  started_at timestamptz not null default now(),
  -- A version whose writer has been silent for the grace period is a dead process's.
  heartbeat_at timestamptz not null default now()
);
--> statement-breakpoint
create index uploads_heartbeat_at on storage.uploads (heartbeat_at);
--> statement-breakpoint
create table storage.removals (
  version uuid primary key,
  bucket_uid uuid not null,
  created_at timestamptz not null default now(),
  -- Lets a transaction find what it put here itself, to remove those bytes as soon as it has committed.
  transaction xid8 not null default pg_current_xact_id()
);
--> statement-breakpoint
create index removals_transaction on storage.removals (transaction);
--> statement-breakpoint
alter table storage.uploads enable row level security;
--> statement-breakpoint
alter table storage.removals enable row level security;
--> statement-breakpoint
grant all on storage.uploads, storage.removals to service_role;
--> statement-breakpoint
-- Whatever takes a version out of the rows (an overwrite, a delete, plain SQL) puts its bytes on the list, in
-- the same transaction. Not if another row names them too: someone may have copied rows with SQL.
create function storage.list_removal() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  -- Rows made by plain SQL may have any version or none: without a UUID there are no bytes of ours.
  if old.version !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    return null;
  end if;
  if exists (select from storage.objects o where o.version = old.version) then
    return null;
  end if;
  insert into storage.removals (version, bucket_uid)
  select old.version::uuid, coalesce(old.bytes_bucket, b.uid)
  from storage.buckets b
  where b.id = old.bucket_id
  on conflict do nothing;
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_list_removal_on_delete after delete on storage.objects
  for each row when (old.version is not null) execute function storage.list_removal();
--> statement-breakpoint
create trigger strongroom_list_removal_on_update after update on storage.objects
  for each row when (old.version is not null and old.version is distinct from new.version)
  execute function storage.list_removal();
--> statement-breakpoint
-- A row without a bytes_bucket, such as one copied with SQL, has its bytes under its bucket: that must not change
-- when the row goes to another one.
create function storage.keep_bytes_bucket() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  new.bytes_bucket := (select b.uid from storage.buckets b where b.id = old.bucket_id);
  return new;
end $$;
--> statement-breakpoint
create trigger strongroom_keep_bytes_bucket before update on storage.objects
  for each row when (
    old.bytes_bucket is null and new.bytes_bucket is null and old.version = new.version
    and old.bucket_id is distinct from new.bucket_id
  )
  execute function storage.keep_bytes_bucket();
--> statement-breakpoint
-- Ends the writing of a version in the transaction that makes its row: off the list of uploads, and what the
-- transaction has put on the other list comes back, to be removed once it has committed. For callers' roles
-- too: a version is nobody's to guess before its row is there.
create function storage.finish_upload(upload uuid) returns table (version uuid, bucket_uid uuid)
  language sql volatile security definer set search_path = '' as $$
  delete from storage.uploads u where u.version = upload;
  select r.version, r.bucket_uid from storage.removals r where r.transaction = pg_current_xact_id_if_assigned()
$$;
--> statement-breakpoint
-- The same, for a transaction that only takes rows away.
create function storage.own_removals() returns table (version uuid, bucket_uid uuid)
  language sql volatile security definer set search_path = '' as $$
  select r.version, r.bucket_uid from storage.removals r where r.transaction = pg_current_xact_id_if_assigned()
$$;
--> statement-breakpoint
-- Strikes off versions whose bytes are gone.
create function storage.strike_removals(versions uuid[]) returns void
  language sql volatile security definer set search_path = '' as $$
  delete from storage.removals r where r.version = any (versions)
$$;
--> statement-breakpoint
-- Strikes off a version that will never get a row.
create function storage.strike_upload(upload uuid) returns void
  language sql volatile security definer set search_path = '' as $$
  delete from storage.uploads u where u.version = upload
$$;
--> statement-breakpoint
revoke execute on function
  storage.finish_upload(uuid), storage.own_removals(), storage.strike_removals(uuid[]), storage.strike_upload(uuid)
from public;
--> statement-breakpoint
grant execute on function storage.finish_upload(uuid), storage.own_removals()
  to anon, authenticated, service_role;
--> statement-breakpoint
grant execute on function storage.strike_removals(uuid[]), storage.strike_upload(uuid)
  to service_role, strongroom_server;
