-- Bytes that go to another place while their object, or what was there before, stays as it is (`strongroom inline`). Each is one transaction of the
-- session that has the cleanup's turn: what it names no cleanup takes for unnamed.

-- What was there before names its bytes at another place. For servers alone: whoever has the service key could lose them by it.
create or replace function storage.move_versions(moved uuid, here uuid, home uuid) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  update storage.object_versions v set bytes_bucket = home where v.version = moved::text and v.bytes_bucket = here;
  return found;
end $$;

-- The bytes are in the backend, under the uid `home`, and from now on rows name them there. Returns whether any does.
create or replace function storage.move_bytes_out(moved uuid, home uuid) returns boolean
  language plpgsql volatile as $$
declare
  was_there constant boolean := storage.move_versions(moved, storage.inline_bucket(), home);
  is_named boolean;
begin
  perform set_config('role', 'service_role', true);
  update storage.objects o set bytes_bucket = home
  where o.version = moved::text and o.bytes_bucket = storage.inline_bucket();
  is_named := found;
  if not (was_there or is_named) then
    return false;
  end if;
  -- A user's trigger may have kept a row as it was.
  if not exists (
    select from storage.objects o where o.version = moved::text and o.bytes_bucket = storage.inline_bucket()
  ) then
    perform storage.remove_inline_bytes(moved);
  end if;
  -- Of a way in before: what was to be removed then is named now.
  delete from storage.removals r where r.version = moved and r.bucket_uid = home;
  return true;
end $$;

-- Bytes that are in the backend, under the uid `home`, are kept here, and rows name them here. Returns null when no row names
-- them there, or else whether they may be removed there; then they are on the list, as they are while a backup needs them.
create or replace function storage.move_bytes_in(moved uuid, home uuid, moved_bytes bytea) returns boolean
  language plpgsql volatile as $$
declare
  was_there constant boolean := storage.move_versions(moved, home, storage.inline_bucket());
  is_named boolean;
begin
  perform set_config('role', 'service_role', true);
  update storage.objects o set bytes_bucket = storage.inline_bucket()
  from storage.buckets b
  where o.version = moved::text and b.id = o.bucket_id and coalesce(o.bytes_bucket, b.uid) = home;
  is_named := found;
  if not (was_there or is_named) then
    return null;
  end if;
  insert into storage.inline_bytes (version, bytes) values (moved, moved_bytes) on conflict do nothing;
  if exists (
    select from storage.objects o join storage.buckets b on b.id = o.bucket_id
    where o.version = moved::text and coalesce(o.bytes_bucket, b.uid) = home
  ) or exists (select from storage.object_versions v where v.version = moved::text and v.bytes_bucket = home) then
    return false;
  end if;
  insert into storage.removals as r (version, bucket_uid) values (moved, home)
  on conflict (version) do update set bucket_uid = excluded.bucket_uid;
  return not exists (select from storage.backup_holds);
end $$;

revoke execute on function
  storage.move_versions(uuid, uuid, uuid),
  storage.move_bytes_out(uuid, uuid),
  storage.move_bytes_in(uuid, uuid, bytea)
from public, anon, authenticated, service_role;

grant execute on function
  storage.move_versions(uuid, uuid, uuid),
  storage.move_bytes_out(uuid, uuid),
  storage.move_bytes_in(uuid, uuid, bytea)
to strongroom_server;
