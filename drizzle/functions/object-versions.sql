-- What was there, kept by triggers (decision 0070): how a version gets its number and its place among those of its name, and
-- what becomes of the one before it. The triggers behind the objects that call `archive_object` are in versions.sql.
--
-- The column `name` has the collation "C", and what is called with one compares the bucket that stands beside it in that, too, by no
-- index, unless it says `collate "default"`.

-- Why nothing removes this version now; null: anything may. Only in a bucket whose versions can be locked. Days have 24 hours: they
-- are no shorter in another time zone. Who sees the database as it was does not know what has been locked since.
create or replace function storage.lock_of(bucket text, version text, since timestamptz) returns text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select case
    when not b.object_lock then null
    when l.legal_hold then 'legal hold'
    when l.lifted_at is null and greatest(l.retain_until, since + make_interval(hours => 24 * b.retention_days)) > now()
      then 'retention'
    when current_setting('transaction_isolation') <> 'read committed' then 'perhaps, since this transaction began'
  end
  from storage.buckets b
  left join storage.object_locks l on l.version = storage.version_uuid(lock_of.version)
  where b.id = bucket
$$;

create or replace function storage.refuse_locked(bucket text, version text, since timestamptz) returns void
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  why constant text := storage.lock_of(bucket, version, since);
begin
  if why is not null then
    raise exception 'version % is locked: %', version, why using errcode = 'SR006';
  end if;
end $$;

-- How long after, and at the earliest just after what it follows: the ranges of a name do not overlap, whatever the clock does.
create or replace function storage.moment_after(before timestamptz) returns timestamptz
  language sql volatile return greatest(clock_timestamp(), before + interval '1 microsecond');

-- Takes the oldest versions of a name away, and leaves `most`; and of markers, if there are more than so many, or anything goes,
-- those that have nothing behind them any more. Locked ones stay. For a name that has an object: no marker is what it has now.
--
-- Each overwrite of a name that has all its versions comes here: one look at what the name has, planned once, and by the index of
-- names, also when the table was small then. It goes by numbers and not by an order, for which another index would be read whole.
create or replace function storage.trim_versions(bucket text, object text, most integer, has_locks boolean) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  versions integer;
  markers integer;
  oldest bigint;
begin
  if has_locks then
    perform storage.trim_unlocked(bucket, object, most);
    return;
  end if;
  select count(*) filter (where v.kind = 'version'), count(*) filter (where v.kind = 'delete_marker'),
    min(v.sequence) filter (where v.kind = 'version')
  into versions, markers, oldest
  from storage.object_versions v
  where v.bucket_id = bucket collate "default" and v.name = object;
  if versions = most + 1 then
    delete from storage.object_versions v where v.sequence = oldest;
  elsif versions > most then
    delete from storage.object_versions v
    where v.sequence in (
      select w.sequence from storage.object_versions w
      where w.bucket_id = bucket collate "default" and w.name = object and w.kind = 'version'
      order by w.sequence limit versions - most);
  end if;
  if markers > most or (versions > most and markers > 0) then
    perform storage.trim_markers(bucket, object);
  end if;
end $$;

-- The same where versions can be locked, of which there may be any number: a look at the newest ones for where the number ends, and then
-- at the twenty behind that, of which one has just come there, and the twenty oldest, which are free first. What is between them goes
-- when it is among these, or by its age.
create or replace function storage.trim_unlocked(bucket text, object text, most integer) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_bitmapscan = off as $$
declare
  boundary bigint;
  markers integer;
  gone integer;
begin
  -- By pairs, which are in the order of the index: with a name that is equal PostgreSQL may take the order of all versions for it.
  select (array_agg(v.sequence order by v.sequence desc) filter (where v.kind = 'version'))[most + 1],
    count(*) filter (where v.kind = 'delete_marker')
  into boundary, markers
  from (
    select w.kind, w.sequence from storage.object_versions w
    where (w.bucket_id, w.name) >= (bucket collate "default", object) and (w.bucket_id, w.name) <= (bucket collate "default", object)
    order by w.bucket_id desc, w.name desc, w.sequence desc limit 2 * most + 20
  ) v;
  if boundary is not null then
    delete from storage.object_versions v
    where v.sequence in (
      (select w.sequence from storage.object_versions w
      where (w.bucket_id, w.name) >= (bucket collate "default", object)
        and (w.bucket_id, w.name, w.sequence) <= (bucket collate "default", object, boundary)
      order by w.bucket_id desc, w.name desc, w.sequence desc limit 20)
      union all
      (select w.sequence from storage.object_versions w
      where (w.bucket_id, w.name) >= (bucket collate "default", object)
        and (w.bucket_id, w.name, w.sequence) <= (bucket collate "default", object, boundary)
      order by w.bucket_id, w.name, w.sequence limit 20))
      and v.kind = 'version' and storage.lock_of(v.bucket_id, v.version, v.valid_from) is null;
    get diagnostics gone = row_count;
  end if;
  if markers > most or (gone > 0 and markers > 0) then
    perform storage.trim_markers(bucket, object);
  end if;
end $$;

-- Takes away, a hundred at a time, what says that a name was deleted and has no version behind it any more.
create or replace function storage.trim_markers(bucket text, object text) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from storage.object_versions v
  where v.sequence in (
    select w.sequence from storage.object_versions w
    where (w.bucket_id, w.name) >= (bucket collate "default", object)
      and (w.bucket_id, w.name, w.sequence) < (bucket collate "default", object, coalesce((
        select o.sequence from storage.object_versions o
        where (o.bucket_id, o.name) >= (bucket collate "default", object)
          and (o.bucket_id, o.name) <= (bucket collate "default", object) and o.kind = 'version'
        order by o.bucket_id, o.name, o.sequence limit 1), 9223372036854775807))
    order by w.bucket_id, w.name, w.sequence limit 100)
    and v.kind = 'delete_marker'
$$;

-- A name has one null version at most: who writes another one takes this away for good.
create or replace function storage.remove_null_version(bucket text, object text) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from storage.object_versions v
  where v.bucket_id = bucket collate "default" and v.name = object and not v.is_versioned and v.kind <> 'trash'
$$;

-- By which the history of a name is locked. Whoever changes one without having its object takes the lock alone, and before the object,
-- if there is one; whoever gives a name that has a history an object shares it.
create or replace function storage.history_key(bucket text, object text) returns bigint
  language sql immutable return hashtextextended((bucket || '/' || object) collate "C", 42);

-- Behind a new row for a name, when nobody else can give it one any more: its place is looked for again, since others may have had the
-- name and left it between `place_version` and now; and of those before it that goes which its bucket does not keep. That it is moved on
-- nobody is told: `returning` has the place of before.
create or replace function storage.settle_history(bucket text, object text) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  status text;
  most integer;
  has_locks boolean;
  key constant bigint := storage.history_key(bucket, object);
  newest record;
begin
  select b.versioning_status, coalesce(b.max_versions, 10), b.object_lock into status, most, has_locks
  from storage.buckets b where b.id = bucket collate "default";
  if status is null or status = 'DISABLED' then
    return;
  end if;
  -- Somebody may just mark the name as deleted (`mark_deleted`), unless it had an object. Kept is the lock only where he does: one
  -- statement may make very many rows.
  if current_setting('storage.holds_names', true) is distinct from 'true'
    and not (pg_try_advisory_lock_shared(key) and pg_advisory_unlock_shared(key))
  then
    perform pg_advisory_xact_lock_shared(key);
  end if;
  select v.version_number, v.archived_at into newest
  from storage.object_versions v
  where v.bucket_id = bucket collate "default" and v.name = object and v.kind <> 'trash'
  order by v.sequence desc limit 1;
  if not found then
    return;
  end if;
  update storage.objects o
  set version_number = greatest(o.version_number, newest.version_number + 1),
    current_since = greatest(o.current_since, storage.moment_after(newest.archived_at))
  where o.bucket_id = bucket collate "default" and o.name = object
    and (o.version_number <= newest.version_number or o.current_since < newest.archived_at);
  if status = 'SUSPENDED' then
    perform storage.remove_null_version(bucket, object);
  end if;
  perform storage.trim_versions(bucket, object, most - 1, has_locks);
end $$;

-- The id that an object had which comes back, unless another one has it, or is about to: an object that was moved has left it to the
-- histories of two names. Two statements: what is committed is seen behind the lock.
create or replace function storage.take_id(wanted uuid) returns uuid
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not pg_try_advisory_xact_lock(hashtextextended(wanted::text, 43)) then
    return gen_random_uuid();
  end if;
  return case when exists (select from storage.objects o where o.id = wanted) then gen_random_uuid() else wanted end;
end $$;

-- Gives a version its number, and the moment from which it is the current one, under the lock of the row that it replaces.
-- Where versions are off, servers say these themselves (`put_object_version`), and this does not fire.
--
-- A row that is new waits for whoever is just deleting what had its name, and comes after him; and for whoever changes its history,
-- unless this transaction has deleted what had the name: then he waits for this one.
create or replace function storage.place_version() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  status text;
  newest record;
  is_held boolean := current_setting('storage.holds_names', true) = 'true';
begin
  if tg_op = 'UPDATE' and old.version is not distinct from new.version
    and old.bucket_id is not distinct from new.bucket_id and old.name is not distinct from new.name
  then
    return new;
  end if;
  select b.versioning_status into status from storage.buckets b where b.id = new.bucket_id;
  -- Null is false, and says that its place is to be looked at again.
  new.is_versioned := case status when 'ENABLED' then true when 'SUSPENDED' then null else false end;
  if tg_op = 'INSERT' and new.version_comment is null then
    new.version_comment := storage.trusted_setting('storage.version_comment');
  end if;
  if tg_op = 'UPDATE' then
    new.current_since := storage.moment_after(old.current_since);
    if old.bucket_id is not distinct from new.bucket_id and old.name is not distinct from new.name then
      new.version_number := coalesce(old.version_number, 1) + 1;
      return new;
    end if;
  end if;
  new.version_number := 1;
  if coalesce(status, 'DISABLED') = 'DISABLED' then
    return new;
  end if;
  perform from storage.objects o where o.bucket_id = new.bucket_id and o.name = new.name for key share;
  -- Then it replaces that, or is refused, and what it would be as a new one is of no use.
  if found and tg_op = 'INSERT' then
    return new;
  end if;
  loop
    select v.object_id, v.version_number, v.archived_at into newest
    from storage.object_versions v
    where v.bucket_id = new.bucket_id and v.name = new.name and v.kind <> 'trash'
    order by v.sequence desc limit 1;
    exit when not found or is_held;
    perform pg_advisory_xact_lock_shared(storage.history_key(new.bucket_id, new.name));
    is_held := true;
  end loop;
  if found then
    new.version_number := newest.version_number + 1;
  end if;
  new.current_since := storage.moment_after(newest.archived_at);
  -- A name has one id as long as it has a history. What is restored has its own.
  if tg_op = 'INSERT' and found and current_setting('storage.restoring', true) is distinct from 'true' then
    new.id := storage.take_id(newest.object_id);
  end if;
  return new;
end $$;

create or replace trigger strongroom_place_version before insert on storage.objects
  for each row when (new.version_number is null) execute function storage.place_version();

-- A short condition, as all are that an overwrite meets: PostgreSQL reads them anew with each statement.
create or replace trigger strongroom_place_version_on_update before update on storage.objects
  for each row when (new.version_number is not distinct from old.version_number)
  execute function storage.place_version();

create or replace function storage.settle_new() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- What moves up takes nothing's place.
  if storage.trusted_setting('storage.promoting') is distinct from 'true' then
    perform storage.settle_history(new.bucket_id, new.name);
  end if;
  return null;
end $$;

-- Not where versions are off.
create or replace trigger strongroom_settle_history after insert on storage.objects
  for each row when (new.is_versioned is distinct from false or new.version_number > 1) execute function storage.settle_new();

-- As what an object stays that leaves storage.objects, 'version' or 'trash'; null: not at all. `way` is as below, `deletion` what
-- the transaction says (`storage.deletion`). Of rows without a version of ours nothing stays.
create or replace function storage.kept_as(
  way text, deletion text, status text, trash_days integer, version text, is_versioned boolean
) returns text language sql immutable
  return case
    when version is null or version !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then null
    when way <> 'replaced' and deletion in ('purge', 'erase') then null
    when status = 'ENABLED' or (status = 'SUSPENDED' and is_versioned) then 'version'
    when way = 'deleted' and deletion is distinct from 'replace' and (trash_days > 0 or deletion like 'trash %') then 'trash'
  end;

-- Keeps what leaves storage.objects, as its bucket says, or the transaction (`storage.deletion`), and puts a marker on it. `way`
-- is 'replaced', 'deleted', 'moved', or 'overwritten': replaced, and told of with what is there now. Returns whether the version is kept; if not, its bytes are superfluous, unless
-- another row has them.
create or replace function storage.archive_object(object storage.objects, way text, until timestamptz) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  deletion constant text := storage.trusted_setting('storage.deletion');
  is_told constant boolean := way = 'overwritten';
  bucket record;
  is_versioned constant boolean := coalesce(object.is_versioned, false);
  since constant timestamptz := coalesce(storage.since_of(object), now());
  left_at timestamptz;
  kept_as text;
  days integer;
  done text; -- of a function without a result: an assignment is quicker than `perform`, which takes the way of a query
begin
  select b.uid, b.versioning_status as status, b.object_lock,
    case when b.trash_days = 0 and deletion like 'trash %' then substr(deletion, 7)::integer else b.trash_days end as trash_days,
    coalesce(b.version_retention_days, 90) as retention_days, coalesce(b.max_versions, 10) as max_versions
  into bucket from storage.buckets b where b.id = object.bucket_id;
  if not found or object.name is null then
    return false;
  end if;
  if is_told then
    way := 'replaced';
  end if;
  if way <> 'replaced' and deletion in ('purge', 'erase') then
    if bucket.object_lock then
      perform storage.refuse_locked(object.bucket_id, object.version, since);
    end if;
    if deletion = 'erase' then
      delete from storage.object_versions v
      where v.bucket_id = object.bucket_id and v.name = object.name and v.kind <> 'trash';
    end if;
    return false;
  end if;
  if deletion = 'replace' then
    way := 'replaced';
  end if;

  kept_as := storage.kept_as(way, deletion, bucket.status, bucket.trash_days, object.version, is_versioned);
  days := case kept_as when 'trash' then bucket.trash_days else bucket.retention_days end;
  -- Who has SQL may give an object any time: the one before it stays locked for as long as it was.
  left_at := case when until > since then until else storage.moment_after(since) end;
  if bucket.status = 'SUSPENDED' or (kept_as = 'version' and not is_versioned) then
    perform storage.remove_null_version(object.bucket_id, object.name);
  end if;
  if kept_as is not null then
    insert into storage.object_versions (
      kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned, size, checksum, owner_id,
      valid_from, archived_at, archived_by, purge_at, quarantine_reason, quarantined_at, object_row
    ) values (
      kept_as, object.bucket_id, object.name, object.id, object.version, coalesce(object.bytes_bucket, bucket.uid),
      coalesce(object.version_number, 1), is_versioned, storage.size_of(object.metadata), object.checksum, object.owner_id,
      since, left_at, storage.trusted_setting('request.jwt.claim.sub'), left_at + days * interval '1 day',
      object.quarantine_reason, object.quarantined_at,
      to_jsonb(object) - array['bucket_id', 'name', 'id', 'version', 'bytes_bucket', 'version_number', 'is_versioned', 'checksum',
        'owner_id', 'current_since', 'archived_at', 'is_delete_marker', 'quarantine_reason', 'quarantined_at', 'path_tokens',
        'folded_name']
    );
    if kept_as = 'version' and not is_told then
      perform storage.emit_version(object, left_at);
    end if;
  end if;
  if bucket.status <> 'DISABLED' then
    if way <> 'replaced' then
      perform storage.add_marker(object.bucket_id, object.name, object.id, coalesce(object.version_number, 1) + 1, left_at);
    -- Numbers are counted from 1: so many versions and markers there are at most.
    elsif kept_as = 'version' and coalesce(object.version_number, 1) >= bucket.max_versions then
      done := storage.trim_versions(object.bucket_id, object.name, bucket.max_versions - 1, bucket.object_lock);
    end if;
  end if;
  return kept_as is not null;
end $$;

-- Says that a name is deleted, in a bucket that keeps versions; where versions are suspended it is the null version.
create or replace function storage.add_marker(bucket text, object text, object_id uuid, number integer, made timestamptz)
  returns text language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into storage.object_versions (
    kind, bucket_id, name, object_id, version, version_number, is_versioned, owner_id, valid_from, archived_at, archived_by,
    purge_at)
  select 'delete_marker', b.id, object, object_id, gen_random_uuid()::text, number, b.versioning_status = 'ENABLED', s.subject,
    made, made, s.subject, made + coalesce(b.version_retention_days, 90) * interval '1 day'
  from storage.buckets b, storage.trusted_setting('request.jwt.claim.sub') s (subject)
  where b.id = bucket collate "default"
  returning version
$$;

-- A row of before as the object that it was; what is generated, PostgreSQL makes anew.
create or replace function storage.as_object(v storage.object_versions) returns storage.objects
  language sql stable set search_path = pg_catalog, pg_temp as $$
  select jsonb_populate_record(null::storage.objects, coalesce(v.object_row, '{}') || jsonb_build_object(
    'bucket_id', v.bucket_id, 'name', v.name, 'id', v.object_id, 'version', v.version, 'bytes_bucket', v.bytes_bucket,
    'version_number', v.version_number, 'is_versioned', v.is_versioned, 'checksum', v.checksum, 'owner_id', v.owner_id,
    'current_since', v.valid_from, 'is_delete_marker', v.is_delete_marker, 'quarantine_reason', v.quarantine_reason,
    'quarantined_at', v.quarantined_at))
$$;

-- What was, was: only where its bytes are, when it goes, and what is found out about them changes.
create or replace function storage.refuse_changed_history() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception 'a version of an object is written once' using errcode = '42501';
end $$;

create or replace trigger strongroom_refuse_changed_history before update on storage.object_versions
  for each row when (
    (old.sequence, old.kind, old.bucket_id, old.name, old.object_id, old.version, old.version_number, old.is_versioned,
      old.valid_from, old.archived_at)
    is distinct from
    (new.sequence, new.kind, new.bucket_id, new.name, new.object_id, new.version, new.version_number, new.is_versioned,
      new.valid_from, new.archived_at)
    or (old.size, old.owner_id, old.archived_by, old.object_row)
    is distinct from (new.size, new.owner_id, new.archived_by, new.object_row)
  )
  execute function storage.refuse_changed_history();

create or replace function storage.list_all_versions() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform storage.refuse_locked(v.bucket_id, v.version, v.valid_from) from storage.object_versions v
  where not v.is_delete_marker;
  insert into storage.removals (version, bucket_uid)
  select v.version::uuid, v.bytes_bucket from storage.object_versions v
  where not v.is_delete_marker and v.bytes_bucket <> storage.inline_bucket()
    and not exists (select from storage.objects o where o.version = v.version)
  on conflict do nothing;
  delete from storage.version_parts p
  where exists (select from storage.object_versions v where v.version = p.version::text)
    and not exists (select from storage.objects o where o.version = p.version::text);
  delete from storage.inline_bytes i
  where exists (select from storage.object_versions v where v.version = i.version::text)
    and not exists (select from storage.objects o where o.version = i.version::text);
  return null;
end $$;

create or replace trigger strongroom_list_all_removals before truncate on storage.object_versions
  for each statement execute function storage.list_all_versions();

-- Which ways `versioning_status` goes, and what a lock lets nobody take back (SR005); and since when the bucket has a memory.
create or replace function storage.keep_versioning() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.versioning_status = 'DISABLED' and new.trash_days = 0 then
    new.history_since := null;
  elsif tg_op = 'INSERT' then
    new.history_since := coalesce(new.history_since, '-infinity'); -- a bucket of a backup says it
  else
    new.history_since := coalesce(old.history_since, clock_timestamp());
  end if;
  if new.versioning_status is null or new.versioning_status not in ('DISABLED', 'ENABLED', 'SUSPENDED') then
    raise exception 'versioning_status is DISABLED, ENABLED or SUSPENDED' using errcode = 'SR005';
  end if;
  if new.object_lock and new.versioning_status <> 'ENABLED' then
    raise exception 'a bucket with object_lock keeps its versions: its versioning_status is ENABLED' using errcode = 'SR005';
  end if;
  if new.retention_days is not null and not new.object_lock and (tg_op = 'INSERT' or not old.object_lock) then
    raise exception 'retention_days need object_lock' using errcode = 'SR005';
  end if;
  if tg_op = 'INSERT' then
    return new;
  end if;
  if new.versioning_status <> old.versioning_status
    and (new.versioning_status = 'DISABLED' or (old.versioning_status = 'DISABLED' and new.versioning_status = 'SUSPENDED'))
  then
    raise exception 'Cannot transition bucket versioning status from % to %', old.versioning_status, new.versioning_status
      using errcode = 'SR005';
  end if;
  if old.object_lock and (not new.object_lock or coalesce(new.retention_days, 0) < coalesce(old.retention_days, 0)) then
    raise exception 'object_lock is not taken back, and retention_days only grow' using errcode = 'SR006';
  end if;
  -- By which bytes are found of rows that name no place.
  if old.object_lock and new.uid is distinct from old.uid then
    raise exception 'the uid of a bucket with object_lock stays' using errcode = 'SR006';
  end if;
  return new;
end $$;

create or replace trigger strongroom_keep_versioning before insert or update on storage.buckets
  for each row execute function storage.keep_versioning();

revoke execute on function
  storage.history_key(text, text),
  storage.lock_of(text, text, timestamptz),
  storage.refuse_locked(text, text, timestamptz),
  storage.moment_after(timestamptz),
  storage.take_id(uuid),
  storage.trim_versions(text, text, integer, boolean),
  storage.trim_unlocked(text, text, integer),
  storage.trim_markers(text, text),
  storage.remove_null_version(text, text),
  storage.settle_history(text, text),
  storage.kept_as(text, text, text, integer, text, boolean),
  storage.archive_object(storage.objects, text, timestamptz),
  storage.add_marker(text, text, uuid, integer, timestamptz),
  storage.as_object(storage.object_versions)
from public, anon, authenticated, service_role;

grant execute on function
  storage.history_key(text, text),
  storage.lock_of(text, text, timestamptz),
  storage.moment_after(timestamptz),
  storage.take_id(uuid),
  storage.remove_null_version(text, text),
  storage.add_marker(text, text, uuid, integer, timestamptz),
  storage.as_object(storage.object_versions)
to service_role, strongroom_server;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.place_version(),
  storage.settle_new(),
  storage.refuse_changed_history(),
  storage.list_all_versions(),
  storage.keep_versioning()
from public, anon, authenticated, service_role;
