-- Deleting in buckets that keep versions (decision 0070): markers for names that have no object, and one version for good.

-- Sees to it that these names are deleted, in a bucket that keeps versions, as far as no object has them: by a marker, unless one
-- is the latest already. One that this transaction's own deletion has left is told of; for any other one the caller is asked
-- whether he may upload there, since no row is there for a DELETE policy to judge.
create or replace function storage.mark_deleted(bucket text, names text[], context text) returns table (
  name text, object_id uuid, version text, is_versioned boolean
) language plpgsql as $$
declare
  status text;
  item record;
  subject constant text := nullif(storage.subject_of(context), '');
begin
  perform set_config('role', 'service_role', true);
  select b.versioning_status into status from storage.buckets b where b.id = bucket;
  if coalesce(status, 'DISABLED') = 'DISABLED' then
    return;
  end if;
  for name in select n.name from unnest(names) n (name) order by n.name collate "C" loop
    continue when exists (select from storage.objects o where o.bucket_id = bucket and o.name = mark_deleted.name);
    select v.kind, v.object_id, v.version, v.version_number, v.archived_at, v.is_versioned,
      v.xmin = pg_current_xact_id_if_assigned()::xid as is_own
    into item from storage.object_versions v
    where v.bucket_id = bucket and v.name = mark_deleted.name and v.kind <> 'trash'
    order by v.sequence desc limit 1;
    if not found or item.kind <> 'delete_marker' or item.is_own is not true then
      begin
        perform storage.act_as(context);
        perform storage.trial_write(bucket, name,
          case when subject ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then subject::uuid end,
          subject, '{}', null, false);
      exception when insufficient_privilege or unique_violation or sqlstate 'SR003' then
        continue;
      end;
      perform set_config('role', 'service_role', true);
      -- One marker, whoever else deletes the name now. Who takes several takes them in order.
      perform pg_advisory_xact_lock(hashtextextended(bucket || '/' || name, 42));
      select v.kind, v.object_id, v.version, v.version_number, v.archived_at, v.is_versioned into item
      from storage.object_versions v
      where v.bucket_id = bucket and v.name = mark_deleted.name and v.kind <> 'trash'
      order by v.sequence desc limit 1;
      if item.kind is distinct from 'delete_marker' then
        if status = 'SUSPENDED' then
          perform storage.remove_null_version(bucket, name);
        end if;
        object_id := coalesce(item.object_id, gen_random_uuid());
        version := storage.add_marker(bucket, name, object_id, coalesce(item.version_number, 0) + 1,
          storage.moment_after(item.archived_at));
        is_versioned := status = 'ENABLED';
        return next;
        continue;
      end if;
    end if;
    object_id := item.object_id;
    version := item.version;
    is_versioned := item.is_versioned;
    return next;
  end loop;
end $$;

-- Where no object has this name, and its newest version is no marker, that is what it has now.
create or replace function storage.promote_version(bucket text, object text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  newest storage.object_versions;
  live storage.objects;
begin
  if exists (select from storage.objects o where o.bucket_id = bucket and o.name = object) then
    return;
  end if;
  select v.* into newest from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' order by v.sequence desc limit 1;
  if not found or newest.kind <> 'version' then
    return;
  end if;
  live := storage.as_object(newest);
  if exists (select from storage.objects o where o.id = live.id) then
    live.id := gen_random_uuid();
  end if;
  perform set_config('storage.promoting', 'true', true);
  perform storage.put_back(live);
  perform set_config('storage.promoting', '', true);
  -- After the object's row is there: or its bytes would be listed for removal.
  delete from storage.object_versions v where v.sequence = newest.sequence;
end $$;

-- Deletes one version of a name for good, or a marker, found as by `read_version`. When it was what the name has now, the one
-- before moves up. Told as by `delete_objects`: 'deleted', 'there' when the caller may see and not delete it, then 'removal's.
create or replace function storage.delete_version(bucket text, object text, wanted text, context text) returns table (
  outcome text, id uuid, name text, version text, bytes_bucket uuid, owner uuid, owner_id text,
  created_at timestamptz, updated_at timestamptz, last_accessed_at timestamptz, metadata jsonb, user_metadata jsonb,
  is_delete_marker boolean
) language plpgsql as $$
declare
  live storage.objects;
  before storage.object_versions;
  newest storage.object_versions;
  item storage.objects;
  judged storage.objects;
  is_live boolean;
begin
  perform set_config('role', 'service_role', true);
  -- What moves up is a new row, which nobody sees who has waited for the one before: so these wait for each other here.
  perform pg_advisory_xact_lock(hashtextextended(bucket || '/' || object, 42));
  -- Whoever changes what this name has now waits, and this for him.
  select o.* into live from storage.objects o where o.bucket_id = bucket and o.name = object for update;
  perform from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' order by v.sequence for update;
  is_live := live.id is not null and coalesce(case
      when wanted = 'null' then live.is_versioned is not true
      when wanted like '#%' then coalesce(live.version_number, 1) = substr(wanted, 2)::integer
      else live.version = wanted
    end, false);
  if is_live then
    item := live;
  else
    select v.* into before from storage.object_versions v
    where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' and case
        when wanted = 'null' then not v.is_versioned
        when wanted like '#%' then v.version_number = substr(wanted, 2)::integer
        else v.version = wanted
      end
    order by v.sequence desc limit 1;
    if not found then
      return;
    end if;
    item := storage.as_object(before);
  end if;
  judged := storage.judged(item, before.is_delete_marker);
  if not storage.may_have(judged, 'delete', context) then
    if storage.may_have(judged, 'see', context) then
      outcome := 'there';
      id := item.id;
      delete_version.name := object;
      version := item.version;
      return next;
    end if;
    return;
  end if;

  if is_live then
    if 'version' = (
      select v.kind from storage.object_versions v
      where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' order by v.sequence desc limit 1
    ) then
      perform set_config('storage.replaced_version', item.version, true);
    end if;
    perform storage.act_as(context); -- the event tells who it was
    perform set_config('storage.deletion', 'purge', true);
    delete from storage.objects o where o.bucket_id = bucket and o.name = object;
    perform set_config('storage.deletion', '', true);
    perform set_config('role', 'service_role', true);
  else
    delete from storage.object_versions v where v.sequence = before.sequence;
  end if;
  perform storage.promote_version(bucket, object);
  perform set_config('storage.replaced_version', '', true);
  outcome := 'deleted';
  id := item.id;
  delete_version.name := object;
  version := item.version;
  owner := item.owner;
  owner_id := item.owner_id;
  created_at := item.created_at;
  updated_at := item.updated_at;
  last_accessed_at := item.last_accessed_at;
  metadata := item.metadata;
  user_metadata := item.user_metadata;
  is_delete_marker := coalesce(before.is_delete_marker, false);
  return next;
  return query
    select 'removal', null::uuid, null, r.version::text, r.bucket_uid, null::uuid, null, null::timestamptz,
      null::timestamptz, null::timestamptz, null::jsonb, null::jsonb, null::boolean
    from storage.own_removals() r;
  -- What triggers do at the end of the transaction they do as the caller.
  perform set_config('role', storage.role_of(context), true);
end $$;

revoke execute on function
  storage.mark_deleted(text, text[], text),
  storage.promote_version(text, text),
  storage.delete_version(text, text, text, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.mark_deleted(text, text[], text),
  storage.promote_version(text, text),
  storage.delete_version(text, text, text, text)
to service_role, strongroom_server;
