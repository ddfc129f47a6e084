-- What the cleanup and the scrub need to repair drift between rows and bytes (design §6).

-- An object whose bytes are gone or damaged is marked, reported, and for damaged bytes no longer served.
alter table storage.objects
  add column quarantine_reason text,
  add column quarantined_at timestamptz,
  add constraint objects_quarantine_reason_known check (quarantine_reason in ('missing', 'corrupted'));
--> statement-breakpoint
create index objects_quarantined on storage.objects (bucket_id) where quarantine_reason is not null;
--> statement-breakpoint
-- A mark is about one version's bytes: another version begins without it. And it is no change of the object.
create or replace function storage.touch_updated_at() returns trigger language plpgsql as $$
begin
  if new.version is distinct from old.version then
    new.quarantine_reason := null;
    new.quarantined_at := null;
  elsif new.quarantine_reason is distinct from old.quarantine_reason then
    return new;
  end if;
  new.updated_at := now();
  return new;
end $$;
--> statement-breakpoint
-- Buckets that are no more. Bytes under a bucket that this database has never had are another's, and left alone.
create table storage.former_buckets (
  uid uuid primary key,
  deleted_at timestamptz not null default now(),
  -- When the last of its folders went.
  folders_removed_at timestamptz
);
--> statement-breakpoint
create index former_buckets_with_folders on storage.former_buckets (deleted_at) where folders_removed_at is null;
--> statement-breakpoint
alter table storage.former_buckets enable row level security;
--> statement-breakpoint
grant all on storage.former_buckets to service_role;
--> statement-breakpoint
create function storage.remember_bucket() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  insert into storage.former_buckets (uid) values (old.uid) on conflict do nothing;
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_remember_bucket after delete on storage.buckets
  for each row execute function storage.remember_bucket();
--> statement-breakpoint
-- `truncate` fires no trigger for a row.
create function storage.list_all_removals() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  insert into storage.removals (version, bucket_uid)
  select o.version::uuid, coalesce(o.bytes_bucket, b.uid)
  from storage.objects o join storage.buckets b on b.id = o.bucket_id
  where o.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
  on conflict do nothing;
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_list_all_removals before truncate on storage.objects
  for each statement execute function storage.list_all_removals();
--> statement-breakpoint
create function storage.remember_all_buckets() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  insert into storage.former_buckets (uid) select b.uid from storage.buckets b on conflict do nothing;
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_remember_all_buckets before truncate on storage.buckets
  for each statement execute function storage.remember_all_buckets();
--> statement-breakpoint
-- Ends the writing of a version in the transaction that makes its row. A version that is not on the list was
-- given up by a cleanup, which may have removed its bytes: the row must not come about.
create or replace function storage.finish_upload(upload uuid) returns table (version uuid, bucket_uid uuid)
  language plpgsql volatile security definer set search_path = '' as $$
begin
  delete from storage.uploads u where u.version = upload;
  if not found then
    raise exception 'the upload was given up' using errcode = 'SR001';
  end if;
  return query
    select r.version, r.bucket_uid from storage.removals r where r.transaction = pg_current_xact_id_if_assigned();
end $$;
--> statement-breakpoint
-- Says that these versions are still being written.
create function storage.beat_uploads(versions uuid[]) returns void
  language sql volatile security definer set search_path = '' as $$
  update storage.uploads u set heartbeat_at = now() where u.version = any (versions)
$$;
--> statement-breakpoint
revoke execute on function storage.beat_uploads(uuid[]) from public;
--> statement-breakpoint
grant execute on function storage.beat_uploads(uuid[]) to service_role, strongroom_server;
--> statement-breakpoint
-- As before (0005), with the object's mark.
drop function storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean);
--> statement-breakpoint
create function storage.read_object(
  access text, bucket text, object text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text
) language plpgsql as $$
declare
  found_uid uuid;
  found_public boolean;
begin
  perform set_config('role', 'service_role', true);
  select b.uid, b.public into found_uid, found_public from storage.buckets b where b.id = bucket;
  if found_uid is null or (access = 'public' and not found_public) then
    return;
  end if;
  if access in ('public', 'signed') or (access = 'caller' and found_public) then
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  else
    perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
    -- The same statement again, not shared with the one above: a plan is kept per role.
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  end if;
  if not found then
    bucket_uid := found_uid;
    return next;
  end if;
end $$;
--> statement-breakpoint
revoke execute on function
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean)
from public;
--> statement-breakpoint
grant execute on function
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean)
to strongroom_server, service_role;
--> statement-breakpoint
-- How far the scrub has come: one row for all buckets (''), and one for each bucket that is scrubbed alone.
create table storage.scrubs (
  scope text primary key,
  started_at timestamptz not null default now(),
  -- Objects with an id up to this one have been checked; null before the first.
  position uuid,
  -- How many objects there were at the start, to tell how far it is.
  total bigint not null,
  checked bigint not null default 0,
  -- Bytes read, of those checked.
  bytes bigint not null default 0,
  corrupted bigint not null default 0,
  missing bigint not null default 0,
  finished_at timestamptz
);
--> statement-breakpoint
alter table storage.scrubs enable row level security;
--> statement-breakpoint
grant all on storage.scrubs to service_role;
