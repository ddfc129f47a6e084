-- Moves in buckets that keep versions (decision 0070).

-- Whether the name that an object of this bucket leaves has a version, or a marker, from then on. For callers' roles too, who ask
-- it of a move of theirs.
create or replace function storage.keeps_versions(bucket text) returns boolean
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.versioning_status <> 'DISABLED' from storage.buckets b where b.id = bucket
$$;

-- Takes one version out of what its name has and had, and makes it what another name has, which no object may have: no
-- marker says that it has been there, and when it was the current one, the one before moves up. Found as by `read_version`. It
-- needs what a move does, UPDATE; or, where it is not what the name has now, what a deletion and an upload do.
--
-- Told as by `delete_versions`: 'moved', 'there' when the caller may see and not move it, then 'removal's.
create or replace function storage.move_version(
  bucket text, object text, wanted text, to_bucket text, to_object text, new_owner uuid, new_owner_id text, context text
) returns table (outcome text, version text, bytes_bucket uuid) language plpgsql as $$
declare
  live storage.objects;
  before storage.object_versions;
  item storage.objects;
  is_moved boolean;
begin
  perform set_config('role', 'service_role', true);
  -- In one order: of two that cross each other, both wait at the same one.
  if (to_bucket, to_object collate "C") < (bucket, object collate "C") then
    perform pg_advisory_xact_lock_shared(storage.history_key(to_bucket, to_object));
  end if;
  perform storage.hold_history(bucket, object);
  select o.* into live from storage.objects o where o.bucket_id = bucket and o.name = object;
  if live.version = wanted then
    perform storage.act_as(context);
    perform set_config('storage.deletion', 'purge', true); -- of where it was
    update storage.objects o
    set bucket_id = to_bucket, name = to_object, owner = coalesce(new_owner, o.owner), owner_id = coalesce(new_owner_id, o.owner_id)
    where o.bucket_id = bucket and o.name = object;
    is_moved := found;
    perform set_config('storage.deletion', '', true);
    item := live;
  else
    select v.* into before from storage.object_versions v
    where v.bucket_id = bucket and v.name = object and v.kind = 'version' and v.version = wanted
    order by v.sequence desc limit 1;
    if not found then
      return;
    end if;
    item := storage.as_object(before);
    is_moved := storage.may_have(item, 'delete', context);
    if is_moved then
      item.bucket_id := to_bucket;
      item.name := to_object;
      item.id := gen_random_uuid(); -- its own stays with the history
      item.owner := coalesce(new_owner, item.owner);
      item.owner_id := coalesce(new_owner_id, item.owner_id);
      item.version_number := null; -- a trigger counts
      item.current_since := clock_timestamp();
      item.updated_at := now();
      perform storage.act_as(context);
      perform storage.trial_write(
        to_bucket, to_object, item.owner, item.owner_id, item.metadata, item.user_metadata, false, item.tags, null,
        storage.attributes_of(item));
      perform set_config('role', 'service_role', true);
      perform storage.put_back(item);
      -- After the object's row is there: or its bytes would be listed for removal.
      delete from storage.object_versions v where v.sequence = before.sequence;
    end if;
  end if;
  if not is_moved then
    if storage.may_have(item, 'see', context) then
      outcome := 'there';
      return next;
    end if;
    return;
  end if;
  perform set_config('role', 'service_role', true);
  perform storage.promote_version(bucket, object);
  outcome := 'moved';
  version := item.version;
  return next;
  return query select 'removal', r.version::text, r.bucket_uid from storage.own_removals() r;
  -- What triggers do at the end of the transaction they do as the caller.
  perform set_config('role', storage.role_of(context), true);
end $$;

revoke execute on function storage.keeps_versions(text) from public;
grant execute on function storage.keeps_versions(text) to anon, authenticated, service_role;

revoke execute on function storage.move_version(text, text, text, text, text, uuid, text, text)
from public, anon, authenticated, service_role;
grant execute on function storage.move_version(text, text, text, text, text, uuid, text, text) to service_role, strongroom_server;
