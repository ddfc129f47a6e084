-- The outbox: what happened to an object, to a bucket, or to all of the server, written in the transaction in which it happened
-- (design §9), and the order in which it is handed out (decision 0017).

-- In bytes; null for rows that plain SQL made without one, which may hold anything there.
create or replace function storage.size_of(metadata jsonb) returns bigint language sql immutable as $$
  select case when jsonb_typeof(metadata -> 'size') = 'number'
    then trunc(least((metadata ->> 'size')::numeric, 9223372036854775807))::bigint end
$$;

-- Up to 64 KiB: many events are in memory at once.
create or replace function storage.unless_large(user_metadata jsonb) returns jsonb language sql immutable as $$
  select case when octet_length(user_metadata::text) <= 65536 then user_metadata end
$$;

-- As servers write times: ISO 8601 in UTC, with milliseconds.
create or replace function storage.json_time(moment timestamptz) returns text language sql stable as $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

create or replace function storage.emit_object_event() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  has_moved boolean := tg_op = 'UPDATE' and (old.bucket_id, old.name) is distinct from (new.bucket_id, new.name);
  replaced text;
  told jsonb;
  since timestamptz;
begin
  -- Not for marks of the cleanup or for times of access: nothing happened to the object. Asked here and not by the trigger, whose
  -- conditions PostgreSQL reads anew with each statement.
  if tg_op = 'UPDATE' then
    if new.bucket_id is null or not (
      has_moved or old.version is distinct from new.version or old.metadata is distinct from new.metadata
      or old.user_metadata is distinct from new.user_metadata or old.owner_id is distinct from new.owner_id
      or old.tags is distinct from new.tags or old.auto_delete_after_days is distinct from new.auto_delete_after_days
      or old.file_name is distinct from new.file_name or old.organization_id is distinct from new.organization_id
      or old.access_level is distinct from new.access_level or old.asset_type is distinct from new.asset_type
      or old.enable_indexing is distinct from new.enable_indexing
    ) then
      return null;
    end if;
  end if;
  -- Anybody may set it, and each upload would ask: whether that counts is asked where it is set.
  if tg_op = 'INSERT' and current_setting('storage.promoting', true) = 'true' then
    replaced := storage.trusted_setting('storage.replaced_version');
  end if;
  -- Asked here, since most say nothing of themselves, and to call the function takes longer.
  if new.tags <> '{}' or new.file_name is not null or new.organization_id is not null or new.access_level <> 'private'
    or new.asset_type is not null or not new.enable_indexing
  then
    told := storage.told_attributes(
      new.tags, new.file_name, new.organization_id, new.access_level, new.asset_type, new.enable_indexing);
  end if;
  -- What is written over in place, and kept, is told of in the same statement: a second one would take longer than the rest of
  -- what keeps it.
  if tg_op = 'UPDATE' and new.is_versioned then
    if not has_moved and old.version is distinct from new.version then
      since := coalesce(storage.since_of(old), now());
      insert into storage.events (
        type, bucket_id, name, version, size, content_type, checksum, owner_id,
        object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
        operation, bucket_policy, bucket_owner_id, old_version, data
      )
      select 'storage.object.updated', new.bucket_id, new.name, new.version,
        storage.size_of(new.metadata), new.metadata ->> 'mimetype', new.checksum, new.owner_id,
        new.id, new.owner, new.metadata, storage.unless_large(new.user_metadata),
        new.created_at, new.updated_at, new.last_accessed_at,
        storage.trusted_setting('storage.operation'), b.policy, b.owner_id, old.version, told
      from (select) as this left join storage.buckets b on b.id = new.bucket_id
      union all
      select 'storage.version.created', old.bucket_id, old.name, old.version,
        storage.size_of(old.metadata), old.metadata ->> 'mimetype', old.checksum, old.owner_id,
        old.id, old.owner, old.metadata, storage.unless_large(old.user_metadata),
        old.created_at, old.updated_at, old.last_accessed_at,
        storage.trusted_setting('storage.operation'), b.policy, b.owner_id, null,
        storage.version_facts(old.version_number, old.is_versioned, old.version_comment, since,
          greatest(new.current_since, since + interval '1 microsecond'), storage.trusted_setting('request.jwt.claim.sub'))
      from storage.buckets b
      where b.id = old.bucket_id and storage.trusted_setting('storage.restoring') is distinct from 'true'
        and storage.kept_as('replaced', null, b.versioning_status, 0, old.version, old.is_versioned) = 'version';
      return null;
    end if;
  end if;
  -- One statement, with the rules of both buckets: each upload waits for it.
  insert into storage.events (
    type, bucket_id, name, version, size, content_type, checksum, owner_id,
    object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
    operation, bucket_policy, bucket_owner_id, data, old_version,
    old_bucket_id, old_name, old_owner_id, old_bucket_policy, old_bucket_owner_id
  )
  select
    -- What moves up to a version that is deleted (`promote_version`) is a change of what the name has.
    case when tg_op = 'INSERT' and replaced is null then 'storage.object.created' else 'storage.object.updated' end,
    new.bucket_id, new.name, new.version,
    storage.size_of(new.metadata), new.metadata ->> 'mimetype', new.checksum, new.owner_id,
    new.id, new.owner, new.metadata, storage.unless_large(new.user_metadata),
    new.created_at, new.updated_at, new.last_accessed_at,
    storage.trusted_setting('storage.operation'), b.policy, b.owner_id, told,
    case when tg_op = 'UPDATE' then old.version else replaced end,
    case when has_moved then old.bucket_id end, case when has_moved then old.name end,
    case when has_moved then old.owner_id end,
    former.policy, former.owner_id
  from (select) as this
  left join storage.buckets b on b.id = new.bucket_id
  left join storage.buckets former on has_moved and former.id = old.bucket_id;
  return null;
end $$;

create or replace trigger strongroom_emit_created after insert on storage.objects
  for each row when (new.bucket_id is not null) execute function storage.emit_object_event();

-- One for each row that a statement has deleted, all at once: one by one it takes longer than the deletion itself.
create or replace function storage.emit_deletions() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  operation constant text := storage.trusted_setting('storage.operation');
  deletion constant text := storage.trusted_setting('storage.deletion');
  -- The one before it moves up: the name is there all the time.
  replaced constant text := storage.trusted_setting('storage.replaced_version');
begin
  insert into storage.events (
    type, bucket_id, name, version, size, content_type, checksum, owner_id,
    object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
    operation, bucket_policy, bucket_owner_id, data
  )
  select 'storage.object.deleted', o.bucket_id, o.name, o.version, storage.size_of(o.metadata),
    o.metadata ->> 'mimetype', o.checksum, o.owner_id,
    o.id, o.owner, o.metadata, storage.unless_large(o.user_metadata), o.created_at, o.updated_at, o.last_accessed_at,
    operation, b.policy, b.owner_id,
    jsonb_build_object('permanent', storage.kept_as('deleted', deletion, b.versioning_status, b.trash_days, o.version, o.is_versioned)
      is null) || coalesce(storage.told_attributes(
        o.tags, o.file_name, o.organization_id, o.access_level, o.asset_type, o.enable_indexing), '{}')
  from (select g.*, row_number() over () as place from gone g) o left join storage.buckets b on b.id = o.bucket_id
  where o.bucket_id is not null and (replaced is null or o.version is distinct from replaced)
  order by o.place;
  return null;
end $$;

create or replace trigger strongroom_emit_deleted after delete on storage.objects
  referencing old table as gone for each statement execute function storage.emit_deletions();

-- What is said of a version besides what is said of any object.
create or replace function storage.version_facts(
  version_number integer, is_versioned boolean, comment text, since timestamptz, archived_at timestamptz, archived_by text
) returns jsonb language sql stable return
  jsonb_build_object(
    'version_number', coalesce(version_number, 1), 'is_versioned', coalesce(is_versioned, false), 'comment', comment,
    'created_at', storage.json_time(since), 'archived_at', storage.json_time(archived_at), 'archived_by', archived_by);

-- What a name has had is a version from now on. One that a backup brings back was that before. Of what is written over in place,
-- `emit_object_event` tells.
create or replace function storage.emit_version(object storage.objects, archived_at timestamptz) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into storage.events (
    type, bucket_id, name, version, size, content_type, checksum, owner_id,
    object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
    operation, bucket_policy, bucket_owner_id, data
  )
  select 'storage.version.created', o.bucket_id, o.name, o.version, storage.size_of(o.metadata), o.metadata ->> 'mimetype',
    o.checksum, o.owner_id, o.id, o.owner, o.metadata, storage.unless_large(o.user_metadata),
    o.created_at, o.updated_at, o.last_accessed_at,
    storage.trusted_setting('storage.operation'), b.policy, b.owner_id,
    storage.version_facts(o.version_number, o.is_versioned, o.version_comment, coalesce(storage.since_of(object), now()), archived_at,
      storage.trusted_setting('request.jwt.claim.sub'))
  from (select (object).*) o left join storage.buckets b on b.id = o.bucket_id
  where storage.trusted_setting('storage.restoring') is distinct from 'true'
$$;

-- It told of each row, whoever made it.
drop trigger if exists strongroom_emit_created on storage.object_versions;
drop function if exists storage.emit_version_event();

create or replace trigger strongroom_emit_updated after update on storage.objects
  for each row execute function storage.emit_object_event();

create or replace function storage.emit_bucket_event() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  bucket storage.buckets := case when tg_op = 'DELETE' then old else new end;
begin
  insert into storage.events (type, bucket_id, object_id, owner_id, operation, bucket_policy, bucket_owner_id) values (
    case tg_op when 'INSERT' then 'storage.bucket.created' else 'storage.bucket.deleted' end,
    bucket.id, bucket.uid, bucket.owner_id, storage.trusted_setting('storage.operation'), bucket.policy, bucket.owner_id
  );
  return null;
end $$;

create or replace trigger strongroom_emit_created after insert on storage.buckets
  for each row execute function storage.emit_bucket_event();

create or replace trigger strongroom_emit_deleted after delete on storage.buckets
  for each row execute function storage.emit_bucket_event();

-- A truncation deletes too.
create or replace function storage.emit_truncation() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name = 'objects' then
    insert into storage.events (
      type, bucket_id, name, version, size, content_type, checksum, owner_id,
      object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
      operation, bucket_policy, bucket_owner_id, data
    )
    select 'storage.object.deleted', o.bucket_id, o.name, o.version, storage.size_of(o.metadata),
      o.metadata ->> 'mimetype', o.checksum, o.owner_id,
      o.id, o.owner, o.metadata, storage.unless_large(o.user_metadata), o.created_at, o.updated_at, o.last_accessed_at,
      storage.trusted_setting('storage.operation'), b.policy, b.owner_id,
      jsonb_build_object('permanent', storage.kept_as('deleted', null, b.versioning_status, b.trash_days, o.version, o.is_versioned)
        is null)
    from storage.objects o join storage.buckets b on b.id = o.bucket_id;
  else
    insert into storage.events (type, bucket_id, object_id, owner_id, operation, bucket_policy, bucket_owner_id)
    select 'storage.bucket.deleted', b.id, b.uid, b.owner_id, storage.trusted_setting('storage.operation'),
      b.policy, b.owner_id
    from storage.buckets b;
  end if;
  return null;
end $$;

create or replace trigger strongroom_emit_truncation before truncate on storage.objects
  for each statement execute function storage.emit_truncation();

create or replace trigger strongroom_emit_truncation before truncate on storage.buckets
  for each statement execute function storage.emit_truncation();

-- A backup has come to its end, whoever says so: who made it, or who has found it dead. One that is withdrawn before it was
-- begun has had none.
create or replace function storage.emit_backup_event() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into storage.events (type, data) values ('storage.backup.completed', jsonb_build_object(
    'backup_id', new.id, 'status', new.status, 'type', new.type,
    'object_count', new.object_count, 'total_bytes', new.total_bytes,
    'started_at', storage.json_time(new.started_at), 'completed_at', storage.json_time(new.completed_at),
    'error', new.error
  ));
  return null;
end $$;

create or replace trigger strongroom_emit_completed after update of status on storage.backup_jobs
  for each row when (
    new.kind = 'backup' and old.status in ('pending', 'running') and new.status in ('completed', 'failed')
    and new.deleted_at is null
  )
  execute function storage.emit_backup_event();

-- The channel of NOTIFY by which servers tell each other of new positions. Anybody may NOTIFY, on a channel whose name he
-- knows.
create or replace function storage.events_channel() returns text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select c.name from strongroom.channel c
$$;

-- Gives positions to all committed events that have none, and returns the newest position. Tells the other servers;
-- the uploads themselves cannot, since NOTIFY makes commits wait for each other.
--
-- What is new are the events that the present snapshot sees and that of the last batch did not. Snapshots agree with
-- row locks: of two changes of one object, no snapshot sees the later one alone, and its id is the greater one. Rows
-- are only added here, and the ends of two indexes are read, so that neither a transaction left open elsewhere nor
-- rows that wait for a vacuum can slow it down.
create or replace function storage.order_events() returns bigint
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  newest bigint;
  before pg_snapshot;
  now pg_snapshot;
  added bigint;
begin
  -- One server at a time: positions appear in their order. Each statement below sees what was committed until then.
  lock table strongroom.ordering in share row exclusive mode;
  select o.position, o.seen into newest, before from storage.event_order o order by o.position desc limit 1;
  now := pg_current_snapshot();
  if pg_snapshot_xmax(before) > pg_snapshot_xmax(now) then
    -- The rows came here from another cluster, where transactions had other numbers.
    update storage.events e set transaction = case
      when exists (select from storage.event_order o where o.event_id = e.id) then '3'
      else pg_current_xact_id()
    end;
    update storage.event_order o set seen = '4:4:' where o.position = newest;
    return newest; -- the next call goes on
  end if;
  with fresh as (
    select e.id, row_number() over (order by e.id) as place
    from (
      select f.id from storage.events f
      where (f.transaction >= pg_snapshot_xmax(before) or f.transaction = any (array(select pg_snapshot_xip(before))))
        and pg_visible_in_snapshot(f.transaction, now)
    ) e
  )
  insert into storage.event_order (position, event_id, seen)
  select newest + f.place, f.id, case when f.place = (select count(*) from fresh) then now end
  from fresh f;
  get diagnostics added = row_count;
  if added > 0 then
    perform pg_notify((select c.name from strongroom.channel c), (newest + added)::text);
  end if;
  return newest + added;
end $$;

-- The events after a position, in order. What concerns no bucket has neither bucket nor record. A record is the row of the object, by Supabase's columns and the checksum,
-- without those that only repeat the name.
create or replace function storage.read_events(after bigint, most integer) returns table (
  event_position bigint, type text, bucket_id text, name text, old_bucket_id text, old_name text,
  version text, old_version text, size bigint, content_type text, checksum text, owner_id text,
  created_at timestamptz, operation text, record jsonb, data jsonb, traceparent text
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select o.position, e.type, e.bucket_id, e.name, e.old_bucket_id, e.old_name, e.version, e.old_version, e.size,
    e.content_type, e.checksum, e.owner_id, e.created_at, e.operation,
    case when e.name is not null then jsonb_build_object(
      'id', e.object_id, 'bucket_id', e.bucket_id, 'name', e.name, 'owner', e.owner, 'owner_id', e.owner_id,
      'created_at', e.object_created_at, 'updated_at', e.object_updated_at,
      'last_accessed_at', e.object_accessed_at, 'metadata', e.metadata, 'user_metadata', e.user_metadata,
      'version', e.version, 'checksum', e.checksum) end,
    e.data, e.traceparent
  from storage.event_order o join storage.events e on e.id = o.event_id
  where o.position > after order by o.position limit most
$$;

-- The names that the events after a position are about, in order.
create or replace function storage.changed_names(after bigint, most integer) returns table (
  event_position bigint, bucket_id text, name text, old_bucket_id text, old_name text
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select o.position, e.bucket_id, e.name, e.old_bucket_id, e.old_name
  from storage.event_order o join storage.events e on e.id = o.event_id
  where o.position > after
  order by o.position
  limit most
$$;

revoke execute on function
  storage.read_events(bigint, integer),
  storage.changed_names(bigint, integer)
from public, anon, authenticated, service_role;

grant execute on function
  storage.read_events(bigint, integer),
  storage.changed_names(bigint, integer)
to service_role, strongroom_server;

-- service_role is a caller's role too, and has no part in these.
revoke execute on function
  storage.events_channel(),
  storage.order_events()
from public, anon, authenticated, service_role;

grant execute on function
  storage.events_channel(),
  storage.order_events()
to strongroom_server;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.emit_object_event(),
  storage.emit_deletions(),
  storage.emit_version(storage.objects, timestamptz),
  storage.version_facts(integer, boolean, text, timestamptz, timestamptz, text),
  storage.emit_bucket_event(),
  storage.emit_truncation(),
  storage.emit_backup_event(),
  storage.json_time(timestamptz),
  storage.size_of(jsonb),
  storage.unless_large(jsonb)
from public, anon, authenticated, service_role;
