-- The two lists that keep rows and bytes together (design §3, §6): versions being written, and versions to remove.

-- Of a version that no row names any more: its bytes go on the list, or, where they are in the database, go here and now: nothing
-- is left for later. `place` is its bytes_bucket, or what that was when there were none.
create or replace function storage.release_bytes(unnamed text, checksum text, place uuid) returns void
  language plpgsql volatile as $$
begin
  -- Only what has no hash of the whole yet can have those of its parts.
  if checksum is null then
    delete from storage.version_parts v where v.version = unnamed::uuid;
  end if;
  if place = storage.inline_bucket() then
    delete from storage.inline_bytes i where i.version = unnamed::uuid;
  elsif place is not null then
    insert into storage.removals (version, bucket_uid) values (unnamed::uuid, place) on conflict do nothing;
  end if;
end $$;

-- Whatever takes a version out of the rows (an overwrite, a delete, plain SQL) puts its bytes on the list, in
-- the same transaction, or, where they are in the database, takes them away. Not if another row names them too: someone
-- may have copied rows with SQL. And not what the bucket keeps (object-versions.sql), to which a name that is left counts, too.
create or replace function storage.list_removal() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  has_moved constant boolean := (old.bucket_id, old.name) is distinct from (new.bucket_id, new.name);
  uid uuid;
  status text;
  is_named boolean;
  done text; -- of a function without a result: an assignment is quicker than `perform`, which takes the way of a query
begin
  if old.version is null or not (has_moved or old.version is distinct from new.version) then
    return null;
  end if;
  -- One look for all that an overwrite asks where nothing is kept; and none where the new version says that something is.
  if new.is_versioned is not true then
    select b.uid, b.versioning_status, case when b.versioning_status = 'DISABLED' then
        exists (select from storage.objects o where o.version = old.version)
        or exists (select from storage.object_versions v where v.version = old.version)
      end
    into uid, status, is_named
    from storage.buckets b where b.id = old.bucket_id;
  end if;
  if has_moved then
    perform storage.settle_history(new.bucket_id, new.name);
  end if;
  if status is distinct from 'DISABLED' then
    if storage.archive_object(old, case when has_moved then 'moved' when new.is_versioned then 'overwritten' else 'replaced' end, new.current_since) then
      return null;
    end if;
  end if;
  -- Rows made by plain SQL may have any version or none: without a UUID there are no bytes of ours.
  if old.version is not distinct from new.version
    or old.version !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
  then
    return null;
  end if;
  if is_named is null then
    select b.uid, exists (select from storage.objects o where o.version = old.version)
      or exists (select from storage.object_versions v where v.version = old.version)
    into uid, is_named
    from storage.buckets b where b.id = old.bucket_id;
  end if;
  if not is_named then
    done := storage.release_bytes(old.version, old.checksum, coalesce(old.bytes_bucket, uid));
  end if;
  return null;
end $$;

create or replace trigger strongroom_list_removal_on_update after update on storage.objects
  for each row execute function storage.list_removal();

-- The same for all objects that a statement deletes, at once: row by row it takes longer than the deletion itself.
create or replace function storage.list_removals() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  item storage.objects;
  without_hash uuid[];
  inside uuid[];
  outside uuid[];
  outside_buckets uuid[];
begin
  if storage.trusted_setting('storage.deletion') = 'replace' then
    -- What comes next has the name, and does not wait for who waits for this transaction (`place_version`).
    perform set_config('storage.holds_names', 'true', true);
  end if;
  for item in
    select g.* from gone g join storage.buckets b on b.id = g.bucket_id
    where b.versioning_status <> 'DISABLED' or b.trash_days > 0 or storage.trusted_setting('storage.deletion') is not null
  loop
    perform storage.archive_object(item, 'deleted', null);
  end loop;
  select array_agg(u.version) filter (where u.checksum is null),
    array_agg(u.version) filter (where u.bytes_bucket = storage.inline_bucket()),
    array_agg(u.version) filter (where u.bytes_bucket <> storage.inline_bucket()),
    array_agg(u.bytes_bucket) filter (where u.bytes_bucket <> storage.inline_bucket())
  into without_hash, inside, outside, outside_buckets
  from (
    select g.version::uuid as version, g.checksum,
      coalesce(g.bytes_bucket, (select b.uid from storage.buckets b where b.id = g.bucket_id)) as bytes_bucket
    from gone g
    where g.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' and g.is_delete_marker is not true
      -- No `exists`, for which a table that was small when it was planned is read whole.
      and (select true from storage.objects o where o.version = g.version limit 1) is null
      and (select true from storage.object_versions v where v.version = g.version limit 1) is null
  ) u;
  if without_hash is not null then
    delete from storage.version_parts v where v.version = any (without_hash);
  end if;
  if inside is not null then
    delete from storage.inline_bytes i where i.version = any (inside);
  end if;
  if outside is not null then
    insert into storage.removals (version, bucket_uid)
    select * from unnest(outside, outside_buckets)
    on conflict do nothing;
  end if;
  return null;
end $$;

create or replace trigger strongroom_list_removal_on_delete after delete on storage.objects
  referencing old table as gone for each statement execute function storage.list_removals();

-- The same for a version: row by row, since an overwrite that takes the oldest one away comes here each time, and to keep what a
-- statement has deleted takes longer than to delete one row.
create or replace function storage.release_version() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  can_be_locked boolean;
  is_named boolean;
  done text; -- as in `list_removal`
begin
  select b.object_lock, exists (select from storage.objects o where o.version = old.version)
    or exists (select from storage.object_versions v where v.version = old.version)
  into can_be_locked, is_named
  from storage.buckets b where b.id = old.bucket_id;
  if can_be_locked then
    -- It has moved up, or come back from the trash under any name, and is what it was: it is removed from here alone.
    if not exists (
      select from storage.objects o
      where o.bucket_id = old.bucket_id and o.version = old.version and (old.kind = 'trash' or o.name = old.name)
        and o.current_since >= old.valid_from
        and (o.bytes_bucket, o.checksum, storage.size_of(o.metadata))
          is not distinct from (old.bytes_bucket, old.checksum, old.size)
    ) then
      perform storage.refuse_locked(old.bucket_id, old.version, old.valid_from);
    end if;
  end if;
  if not is_named and storage.version_uuid(old.version) is not null then
    done := storage.release_bytes(old.version, old.checksum, old.bytes_bucket);
  end if;
  return null;
end $$;

create or replace trigger strongroom_release after delete on storage.object_versions
  for each row when (old.kind <> 'delete_marker') execute function storage.release_version();

-- `truncate` fires no trigger for a row.
create or replace function storage.list_all_removals() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform storage.archive_object(o, 'deleted', null)
  from storage.objects o join storage.buckets b on b.id = o.bucket_id
  where b.versioning_status <> 'DISABLED' or b.trash_days > 0;
  insert into storage.removals (version, bucket_uid)
  select o.version::uuid, coalesce(o.bytes_bucket, b.uid)
  from storage.objects o join storage.buckets b on b.id = o.bucket_id
  where o.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
    and o.bytes_bucket is distinct from storage.inline_bucket()
    and not exists (select from storage.object_versions v where v.version = o.version)
  on conflict do nothing;
  delete from storage.version_parts p
  where not exists (select from storage.object_versions v where v.version = p.version::text);
  delete from storage.inline_bytes i
  where not exists (select from storage.object_versions v where v.version = i.version::text);
  return null;
end $$;

create or replace trigger strongroom_list_all_removals before truncate on storage.objects
  for each statement execute function storage.list_all_removals();

-- A row without a bytes_bucket, such as one copied with SQL, has its bytes under its bucket: that must not change
-- when the row goes to another one.
create or replace function storage.keep_bytes_bucket() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if new.bytes_bucket is null and old.version = new.version and old.bucket_id is distinct from new.bucket_id then
    new.bytes_bucket := (select b.uid from storage.buckets b where b.id = old.bucket_id);
  end if;
  return new;
end $$;

create or replace trigger strongroom_keep_bytes_bucket before update on storage.objects
  for each row when (old.bytes_bucket is null) execute function storage.keep_bytes_bucket();

-- Ends the writing of a version in the transaction that makes its row: off the list of uploads, and what the transaction
-- has put on the other list comes back, to be removed once it has committed. A version that is not on the list was given
-- up by a cleanup, which may have removed its bytes: the row must not come about. For callers' roles too: a version is
-- nobody's to guess before its row is there.
--
-- A resumable upload is finished with it. A client whose last answer was lost asks soon, or not at all.
create or replace function storage.finish_upload(upload uuid) returns table (version uuid, bucket_uid uuid)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  is_in_parts boolean;
  versions uuid[];
  buckets uuid[];
begin
  delete from storage.uploads u where u.version = upload;
  if not found then
    raise exception 'the upload was given up' using errcode = 'SR001';
  end if;
  update storage.resumable_uploads r
  set ended = 'finished', notes = null, expires_at = least(r.expires_at, now() + interval '15 minutes')
  where r.id = upload
  returning r.in_parts into is_in_parts;
  if is_in_parts then
    perform storage.keep_version_parts(upload);
  end if;
  -- As `own_removals`; who has replaced nothing need not look for holds.
  select array_agg(r.version), array_agg(r.bucket_uid) into versions, buckets
  from storage.removals r where r.transaction = pg_current_xact_id_if_assigned();
  if versions is not null then
    return query
      select u.* from unnest(versions, buckets) u where not exists (select from storage.backup_holds);
  end if;
end $$;

-- What a row that is just being made is to S3, and which id the history of its name has given it: `id`, `is_versioned`. Null where
-- the bucket keeps no versions. For callers' roles too, who cannot always see what they have made: a write returns it without a
-- policy to select. Volatile, since it sees the statement's own row then.
create or replace function storage.written_version(bucket text, object text, written text) returns json
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from storage.buckets b where b.id = bucket and b.versioning_status <> 'DISABLED') then
    return (
      select json_build_object('id', o.id, 'is_versioned', coalesce(o.is_versioned, false)) from storage.objects o
      where o.bucket_id = bucket and o.name = object and o.version = written
    );
  end if;
  return null;
end $$;

-- The marker that this transaction's own deletion has left. For callers' roles too.
create or replace function storage.own_marker(bucket text, object text) returns table (version text, is_versioned boolean)
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select v.version, v.is_versioned from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind = 'delete_marker'
    and v.xmin = pg_current_xact_id_if_assigned()::xid
  order by v.sequence desc limit 1
$$;

-- What the transaction has put on the list of removals, to be removed once it has committed: nothing while a backup needs
-- what rows have named, which stays on the list then. A hold that this does not see yet waits for the transaction's end
-- (src/database/queries/backup-holds.ts): it has written by now, and each call looks anew, whatever the statement around it.
create or replace function storage.own_removals() returns table (version uuid, bucket_uid uuid)
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select r.version, r.bucket_uid from storage.removals r
  where r.transaction = pg_current_xact_id_if_assigned() and not exists (select from storage.backup_holds)
$$;

-- Sweeps of the bytes that nothing names are counted, so that whoever makes the row of a file that was there before his
-- transaction knows whether one has begun since (decision 0055). A sequence is read as it is now, whatever the snapshot.
create or replace function storage.last_sweep() returns bigint
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select s.last_value from storage.sweeps s
$$;

create or replace function storage.next_sweep() returns bigint
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select nextval('storage.sweeps')
$$;

-- Says that these versions are still being written.
create or replace function storage.beat_uploads(versions uuid[]) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.uploads u set heartbeat_at = now() where u.version = any (versions)
$$;

-- Strikes off versions whose bytes are gone.
create or replace function storage.strike_removals(versions uuid[]) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from storage.removals r where r.version = any (versions)
$$;

-- Strikes off a version that will never get a row.
create or replace function storage.strike_upload(upload uuid) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from storage.uploads u where u.version = upload
$$;

revoke execute on function storage.release_bytes(text, text, uuid) from public, anon, authenticated, service_role;

revoke execute on function
  storage.finish_upload(uuid),
  storage.written_version(text, text, text),
  storage.own_marker(text, text),
  storage.own_removals()
from public;

grant execute on function
  storage.finish_upload(uuid),
  storage.written_version(text, text, text),
  storage.own_marker(text, text),
  storage.own_removals()
to anon, authenticated, service_role;

revoke execute on function
  storage.last_sweep(),
  storage.next_sweep(),
  storage.beat_uploads(uuid[]),
  storage.strike_removals(uuid[]),
  storage.strike_upload(uuid)
from public, anon, authenticated, service_role;

grant execute on function
  storage.last_sweep(),
  storage.next_sweep(),
  storage.beat_uploads(uuid[]),
  storage.strike_removals(uuid[]),
  storage.strike_upload(uuid)
to service_role, strongroom_server;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.list_removal(),
  storage.list_removals(),
  storage.release_version(),
  storage.list_all_removals(),
  storage.keep_bytes_bucket()
from public, anon, authenticated, service_role;
