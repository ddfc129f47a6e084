-- Small bytes in the database (decision 0052): what is asked of storage.inline_bytes beside the calls that write and read
-- an object. Bytes come with their row in put_object_version, and go with it by the triggers of versions.sql.

-- Where the bytes of an object are that are not in the backend: its bytes_bucket. No bucket has this uid.
create or replace function storage.inline_bucket() returns uuid language sql immutable
  return '00000000-0000-0000-0000-000000000000'::uuid;

-- A row that was copied with SQL within its bucket, as far as its columns are Supabase's, names the bytes of the first one, which
-- may have been replaced or deleted since.
-- Never those of another bucket, as with bytes outside: nobody's row opens what he only knows the version of.
--
-- By the index of versions alone (`offset 0` keeps the rest out of it), also when the question was planned while the table was
-- small: each of a million rows that are imported into an empty one would look at all before it.
create or replace function storage.find_inline_bytes() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
begin
  if new.version !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then
    return new;
  end if;
  if exists (
    select from (
      select o.bucket_id, o.bytes_bucket from storage.objects o where o.version = new.version
      union all
      select v.bucket_id, v.bytes_bucket from storage.object_versions v where v.version = new.version offset 0
    ) same
    where same.bucket_id = new.bucket_id and same.bytes_bucket = storage.inline_bucket()
  ) then
    new.bytes_bucket := storage.inline_bucket();
  end if;
  return new;
end $$;

create or replace trigger strongroom_find_inline_bytes before insert on storage.objects
  for each row when (new.bytes_bucket is null and new.version is not null) execute function storage.find_inline_bytes();

-- Bytes in the database are found by their version alone, and who only knows one gets none of another bucket's by it: a row
-- does not come to name bytes that are there, unless one of its bucket does. Whoever sees them all anyway may restore what
-- he has kept.
create or replace function storage.refuse_inline_bytes() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    if old.version is not distinct from new.version and old.bytes_bucket is not distinct from new.bytes_bucket then
      return new;
    end if;
  end if;
  if (new.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$') is not true then
    return new;
  end if;
  -- Those of a new object come after its row; those of a move before it, in its transaction. A question by itself: those behind it
  -- would be made ready each time.
  if exists (
    select from storage.inline_bytes i
    where i.version = new.version::uuid and i.xmin is distinct from pg_current_xact_id_if_assigned()::xid
  ) then
    if not exists (
        select from storage.objects o
        where o.version = new.version and o.bucket_id = new.bucket_id and o.bytes_bucket = storage.inline_bucket()
      )
      and not exists (
        select from storage.object_versions v
        where v.version = new.version and v.bucket_id = new.bucket_id and v.bytes_bucket = storage.inline_bucket()
      )
    then
      raise exception 'the bytes of this version belong to another bucket' using errcode = '42501';
    end if;
  end if;
  return new;
end $$;

create or replace trigger strongroom_refuse_inline_bytes before insert on storage.objects
  for each row when (
    new.bytes_bucket = '00000000-0000-0000-0000-000000000000'
    and current_user <> 'service_role' and row_security_active('storage.inline_bytes'::regclass)
  )
  execute function storage.refuse_inline_bytes();

create or replace trigger strongroom_refuse_other_inline_bytes before update on storage.objects
  for each row when (
    new.bytes_bucket = '00000000-0000-0000-0000-000000000000'
    and current_user <> 'service_role' and row_security_active('storage.inline_bytes'::regclass)
  )
  execute function storage.refuse_inline_bytes();

-- Servers that know no bytes in the database do not find them, and must not mark their objects for it, and delete them later:
-- an object is not missing whose bytes are here.
create or replace function storage.refuse_missing_mark() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if old.quarantine_reason is distinct from 'missing' and new.bytes_bucket = storage.inline_bucket()
    and new.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
  then
    if exists (select from storage.inline_bytes i where i.version = new.version::uuid) then
      return null;
    end if;
  end if;
  return new;
end $$;

create or replace trigger strongroom_refuse_missing_mark before update on storage.objects
  for each row when (new.quarantine_reason = 'missing') execute function storage.refuse_missing_mark();

create or replace function storage.write_inline_bytes(new_version uuid, new_bytes bytea) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into storage.inline_bytes (version, bytes) values (new_version, new_bytes)
$$;

-- The whole length, and the bytes from `first` on, counted from 0: `most` of them, or, by null, all. No row: none.
create or replace function storage.read_inline_bytes(wanted uuid, first integer, most integer) returns table (
  size integer, bytes bytea
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select length(i.bytes), case when most is null then i.bytes else substring(i.bytes from first + 1 for most) end
  from storage.inline_bytes i where i.version = wanted
$$;

create or replace function storage.inline_size(wanted uuid) returns integer
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select length(i.bytes) from storage.inline_bytes i where i.version = wanted
$$;

-- Gives another version the same bytes. Returns whether there were any.
create or replace function storage.copy_inline_bytes(source uuid, target uuid) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into storage.inline_bytes (version, bytes)
  select target, i.bytes from storage.inline_bytes i where i.version = source;
  return found;
end $$;

-- Those of a locked version stay, whoever asks.
create or replace function storage.remove_inline_bytes(unwanted uuid) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from storage.inline_bytes i where i.version = unwanted and not exists (
    select from storage.objects o
    where o.version = unwanted::text and o.bytes_bucket = storage.inline_bucket()
      and storage.lock_of(o.bucket_id, o.version, storage.since_of(o)) is not null
  ) and not exists (
    select from storage.object_versions v
    where v.version = unwanted::text and v.bytes_bucket = storage.inline_bucket()
      and storage.lock_of(v.bucket_id, v.version, v.valid_from) is not null
  );
end $$;

-- A page of all, by version, from after the given one. A bound that may be none would be none of the index before
-- PostgreSQL 18.
create or replace function storage.list_inline_bytes(after uuid, most integer) returns table (
  version uuid, size integer, created_at timestamptz
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select i.version, length(i.bytes), i.created_at from storage.inline_bytes i
  where i.version > coalesce(after, '00000000-0000-0000-0000-000000000000')
  order by i.version limit most
$$;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.find_inline_bytes(),
  storage.refuse_inline_bytes(),
  storage.refuse_missing_mark()
from public, anon, authenticated, service_role;

revoke execute on function
  storage.write_inline_bytes(uuid, bytea),
  storage.read_inline_bytes(uuid, integer, integer),
  storage.inline_size(uuid),
  storage.copy_inline_bytes(uuid, uuid),
  storage.remove_inline_bytes(uuid),
  storage.list_inline_bytes(uuid, integer)
from public, anon, authenticated, service_role;

grant execute on function
  storage.write_inline_bytes(uuid, bytea),
  storage.read_inline_bytes(uuid, integer, integer),
  storage.inline_size(uuid),
  storage.copy_inline_bytes(uuid, uuid),
  storage.remove_inline_bytes(uuid),
  storage.list_inline_bytes(uuid, integer)
to service_role, strongroom_server;
