-- Deleting in buckets that keep versions (decision 0070): markers for names that have no object, and one version for good.

-- Locks the history of a name that nobody has, nor is about to have, if the caller might upload there: whoever gives it an object from
-- now on waits for this transaction, whether it has a history or not (`settle_history`). Who takes several takes them in order.
create or replace function storage.take_free_name(bucket text, object text, context text) returns boolean
  language plpgsql volatile as $$
declare
  subject constant text := nullif(storage.subject_of(context), '');
  owner constant uuid := case
    when subject ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then subject::uuid end;
  patience constant text := current_setting('lock_timeout');
begin
  loop
    begin
      perform pg_advisory_xact_lock(storage.history_key(bucket, object));
      -- Who is about to have it waits for that lock, and would wait for ever. In milliseconds.
      perform set_config('lock_timeout', '50', true);
      perform storage.act_as(context);
      perform storage.trial_write(bucket, object, owner, subject, '{}', null, false, '{}', null, null);
      perform set_config('lock_timeout', patience, true);
      perform set_config('role', 'service_role', true);
      return true;
    exception when lock_not_available then
      null; -- the lock is given back with the rest of the block
    end;
    perform storage.act_as(context);
    perform storage.trial_write(bucket, object, owner, subject, '{}', null, false, '{}', null, null); -- waits for him, and holds up nobody
    perform set_config('role', 'service_role', true);
  end loop;
exception when insufficient_privilege or unique_violation or sqlstate 'SR003' then
  return false;
end $$;

-- Sees to it that these names are deleted, in a bucket that keeps versions, as far as no object has them: by a marker, unless one
-- is the latest already. One that this transaction's own deletion has left is told of; for any other one the caller is asked
-- whether he may upload there, since no row is there for a DELETE policy to judge.
create or replace function storage.mark_deleted(bucket text, names text[], context text) returns table (
  name text, object_id uuid, version text, is_versioned boolean
) language plpgsql as $$
declare
  status text;
  item record;
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
      continue when not storage.take_free_name(bucket, name, context);
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
  live.id := storage.take_id(live.id);
  perform set_config('storage.promoting', 'true', true);
  perform storage.put_back(live);
  perform set_config('storage.promoting', '', true);
  -- After the object's row is there: or its bytes would be listed for removal.
  delete from storage.object_versions v where v.sequence = newest.sequence;
end $$;

-- Keeps all others from what a name has and had, who wait, and this for them.
create or replace function storage.hold_history(bucket text, object text) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  -- What moves up is a new row, which nobody sees who has waited for the one before: so these wait for each other here.
  perform pg_advisory_xact_lock(storage.history_key(bucket, object));
  loop
    perform from storage.objects o where o.bucket_id = bucket and o.name = object for update;
    -- Where it was replaced by a deletion and another row, that one is there now.
    exit when found or not exists (select from storage.objects o where o.bucket_id = bucket and o.name = object);
  end loop;
  perform from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' order by v.sequence for update;
end $$;

-- Which of these versions of names there are, each found as by `read_version`, once if it is asked for several times.
create or replace function storage.find_versions(bucket text, names text[], wanted text[]) returns table (
  entry integer, item storage.objects
) language plpgsql stable set enable_seqscan = off as $$
begin
  return query
    select e.entry, f.item from (
      select min(u.place)::integer as entry, u.name, u.wanted
      from unnest(names, wanted) with ordinality u (name, wanted, place) group by u.name, u.wanted
    ) e
    cross join lateral (
      select o as item from storage.objects o
      where o.bucket_id = bucket and o.name = e.name and o.version = e.wanted
      union all
      -- By the index of ids (`offset 0`): a name may have very many.
      (select storage.as_object(v) from (select w.* from storage.object_versions w where w.version = e.wanted offset 0) v
        where v.bucket_id = bucket and v.name = e.name and v.kind <> 'trash'
        order by v.sequence desc limit 1)
      union all
      select storage.find_lockable(bucket, e.name, e.wanted) where e.wanted = 'null' or e.wanted like '#%'
      limit 1
    ) f
    where (f.item).id is not null;
end $$;

-- Deletes versions of names for good, and markers, each found as by `read_version`, and told by its place in the arrays:
-- 'deleted'; 'there' when the caller may see and not delete it; 'locked', and why; nothing when there is none, or not for him. When it was
-- what the name has now, the one before moves up. Last, 'removal's, as by `delete_objects`.
--
-- Who may what is asked before anything is locked: who may nothing holds up nobody.
create or replace function storage.delete_versions(bucket text, names text[], wanted text[], context text) returns table (
  outcome text, entry integer, id uuid, name text, version text, bytes_bucket uuid, owner uuid, owner_id text,
  created_at timestamptz, updated_at timestamptz, last_accessed_at timestamptz, metadata jsonb, user_metadata jsonb,
  is_delete_marker boolean, lock text
) language plpgsql as $$
declare
  role_name constant text := storage.role_of(context);
  entries integer[];
  items storage.objects[];
  judged storage.objects[];
  seen boolean[];
  deletable boolean[];
  object text; -- whose versions are locked
  lives text[]; -- what their names had when they were found
  is_allowed boolean;
  live storage.objects;
  item storage.objects;
  is_live boolean;
  former bigint; -- else its sequence
begin
  perform set_config('role', 'service_role', true);
  -- A name's together, for all who take several to lock them in one order, and the oldest first, so that little moves up.
  select array_agg(f.entry), array_agg(f.item), array_agg(storage.judged(f.item, (f.item).is_delete_marker)),
    array_agg(f.live)
  into entries, items, judged, lives
  from (
    select d.*, (select o.version from storage.objects o where o.bucket_id = bucket and o.name = (d.item).name) as live
    from storage.find_versions(bucket, names, wanted) d
    order by (d.item).name collate "C", (d.item).version_number, d.entry
  ) f;
  if items is null then
    return;
  end if;
  if role_name <> 'service_role' then
    seen := storage.hold_at_once(judged, false, storage.condition_of(role_name, 'r'), context);
    if true = any (seen) then
      deletable := storage.hold_at_once(judged, false, storage.condition_of(role_name, 'd'), context);
    end if;
  end if;

  for n in 1 .. cardinality(items) loop
    item := items[n];
    entry := entries[n];
    id := item.id;
    delete_versions.name := item.name;
    version := item.version;
    is_allowed := coalesce(seen[n], true) and coalesce(deletable[n], true);
    if is_allowed then
      begin
        is_allowed := storage.may_have(judged[n], 'delete', context);
      exception when insufficient_privilege then
        is_allowed := null; -- somebody has taken away what it waited for, or else it says so again
      end;
    end if;
    if not is_allowed then
      select o.* into live from storage.objects o where o.bucket_id = bucket and o.name = item.name;
      if live.version is distinct from lives[n] then
        is_allowed := null;
      else
        if coalesce(seen[n], storage.may_have(judged[n], 'see', context)) then
          outcome := 'there';
          return next;
        end if;
        continue;
      end if;
    end if;

    if object is distinct from item.name then
      object := item.name;
      perform storage.hold_history(bucket, object);
    end if;
    select o.* into live from storage.objects o where o.bucket_id = bucket and o.name = object;
    is_live := found and live.version is not distinct from item.version;
    former := null;
    if not is_live then
      select max(v.sequence) into former
      from (select w.* from storage.object_versions w where w.version = item.version offset 0) v
      where v.bucket_id = bucket and v.name = object and v.kind <> 'trash';
      continue when former is null;
    end if;
    -- Somebody may have given the name something else meanwhile: then what was said of it counts no more.
    if (is_allowed is null or live.version is distinct from lives[n])
      and not storage.may_have(judged[n], 'delete', context)
    then
      if storage.may_have(judged[n], 'see', context) then
        outcome := 'there';
        return next;
      end if;
      continue;
    end if;
    lock := case when item.is_delete_marker is not true
      then storage.lock_of(bucket, item.version, storage.since_of(item)) end;
    if lock is not null then
      outcome := 'locked';
      return next;
      continue;
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
      delete from storage.object_versions v where v.sequence = former;
    end if;
    perform storage.promote_version(bucket, object);
    perform set_config('storage.replaced_version', '', true);
    outcome := 'deleted';
    owner := item.owner;
    owner_id := item.owner_id;
    created_at := item.created_at;
    updated_at := item.updated_at;
    last_accessed_at := item.last_accessed_at;
    metadata := item.metadata;
    user_metadata := item.user_metadata;
    is_delete_marker := coalesce(item.is_delete_marker, false);
    return next;
  end loop;
  return query
    select 'removal', null::integer, null::uuid, null, r.version::text, r.bucket_uid, null::uuid, null, null::timestamptz,
      null::timestamptz, null::timestamptz, null::jsonb, null::jsonb, null::boolean, null
    from storage.own_removals() r;
  -- What triggers do at the end of the transaction they do as the caller.
  perform set_config('role', role_name, true);
end $$;

-- After objects were deleted for good: what their names had before goes with them, as far as the caller might delete that if it were
-- back. Whatever others have left stays, and stays deleted. Those who delete versions of it wait, since `delete_objects` has locked it.
create or replace function storage.erase_history(bucket text, names text[], context text) returns void
  language plpgsql as $$
declare
  object text;
  sequences bigint[];
  items storage.objects[];
  erasable bigint[];
  newest record;
begin
  perform set_config('role', 'service_role', true);
  perform set_config('storage.deletion', '', true);
  for object in select n.name from unnest(names) n (name) order by n.name collate "C" loop
    -- Not deleted, or somebody has given it to something else meanwhile.
    continue when exists (select from storage.objects o where o.bucket_id = bucket and o.name = object);
    select array_agg(v.sequence order by v.sequence), array_agg(storage.as_object(v) order by v.sequence)
    into sequences, items
    from storage.object_versions v where v.bucket_id = bucket and v.name = object and v.kind = 'version';
    erasable := '{}';
    for n in 1 .. coalesce(cardinality(items), 0) loop
      if storage.may_have(items[n], 'delete', context) then
        erasable := erasable || sequences[n];
      end if;
      perform set_config('role', 'service_role', true);
    end loop;
    delete from storage.object_versions v where v.sequence = any (erasable);
    delete from storage.object_versions v
    where v.bucket_id = bucket and v.name = object and v.kind = 'delete_marker' and not exists (
      select from storage.object_versions w
      where w.bucket_id = bucket and w.name = object and w.kind = 'version' and w.sequence < v.sequence);
    select v.kind, v.object_id, v.version_number, v.archived_at into newest
    from storage.object_versions v
    where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' order by v.sequence desc limit 1;
    if newest.kind = 'version' then
      if exists (select from storage.buckets b where b.id = bucket and b.versioning_status = 'SUSPENDED') then
        perform storage.remove_null_version(bucket, object);
      end if;
      perform storage.add_marker(bucket, object, newest.object_id, newest.version_number + 1,
        storage.moment_after(newest.archived_at));
    end if;
  end loop;
end $$;

revoke execute on function
  storage.take_free_name(text, text, text),
  storage.mark_deleted(text, text[], text),
  storage.hold_history(text, text),
  storage.promote_version(text, text),
  storage.find_versions(text, text[], text[]),
  storage.delete_versions(text, text[], text[], text),
  storage.erase_history(text, text[], text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.take_free_name(text, text, text),
  storage.mark_deleted(text, text[], text),
  storage.hold_history(text, text),
  storage.promote_version(text, text),
  storage.find_versions(text, text[], text[]),
  storage.delete_versions(text, text[], text[], text),
  storage.erase_history(text, text[], text)
to service_role, strongroom_server;
