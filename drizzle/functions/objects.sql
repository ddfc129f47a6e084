-- The ways from the server to the rows of objects. Reads and the trial write are one call each, because round trips are
-- what a request costs (decision 0021).

-- Finds a bucket and one object in it. No row: no such bucket, or not for this kind of access. A row whose id
-- is null: no such object, or hidden by RLS.
--
--   access 'public'  anybody; public buckets only, RLS skipped
--          'signed'  a verified signed URL; RLS skipped
--          'caller'  RLS decides, but a public bucket needs no policy (wire §3.4)
--          'policy'  RLS decides
--
-- Bytes that are in the database come along, unless `bytes_unless` is null, or the version that is found: that the reader
-- has. `keeps_versions` is true of the bucket if it has, or has had, versions; `is_versioned` is the object's.
create or replace function storage.read_row(
  access text, bucket text, object text, bytes_unless text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[], bytes bytea, keeps_versions boolean, is_versioned boolean,
  auto_delete_after_days integer, auto_delete_at timestamptz, attributes jsonb
) language plpgsql as $$
declare
  role_set text;
  role_before text;
  began timestamptz;
begin
  -- Assignments: `perform` would take the way of a query.
  role_set := set_config('role', 'service_role', true);
  select b.uid, b.public, b.versioning_status <> 'DISABLED' into bucket_uid, is_public, keeps_versions
    from storage.buckets b where b.id = bucket;
  if bucket_uid is null or (access = 'public' and not is_public) then
    return;
  end if;
  if access in ('public', 'signed') or (access = 'caller' and is_public) then
    select o.id, o.version, coalesce(o.bytes_bucket, bucket_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason, o.tags,
        o.is_versioned, o.auto_delete_after_days, o.auto_delete_at,
        storage.attributes_json(o.file_name, o.organization_id, o.access_level, o.asset_type, o.enable_indexing)
      into id, version, bytes_bucket, owner_id, metadata,
        user_metadata, checksum, created_at, updated_at, quarantine_reason, tags, is_versioned,
        auto_delete_after_days, auto_delete_at, attributes
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  else
    began := storage.act_as(context);
    -- The same statement again, not shared with the one above: a plan is kept per role.
    select o.id, o.version, coalesce(o.bytes_bucket, bucket_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason, o.tags,
        o.is_versioned, o.auto_delete_after_days, o.auto_delete_at,
        storage.attributes_json(o.file_name, o.organization_id, o.access_level, o.asset_type, o.enable_indexing)
      into id, version, bytes_bucket, owner_id, metadata,
        user_metadata, checksum, created_at, updated_at, quarantine_reason, tags, is_versioned,
        auto_delete_after_days, auto_delete_at, attributes
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  end if;
  -- A condition costs something with each call: who has the bytes, or wants none, needs the first one alone.
  if bytes_unless <> version then
    if bytes_bucket = storage.inline_bucket() then
      role_before := current_setting('role');
      role_set := set_config('role', 'service_role', true);
      select i.bytes into bytes from storage.inline_bytes i
        -- Plain SQL may have given a row any version.
        where i.version = case
          when read_row.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
          then read_row.version::uuid end;
      -- What triggers do at the end of the transaction, if a policy writes, they do as whoever reads.
      role_set := set_config('role', role_before, true);
    end if;
  end if;
  return next;
end $$;

-- Which of these names the caller sees, with the uid of the bucket: a signed URL is for a bucket and not for its name.
create or replace function storage.visible_names_as(
  bucket text, names text[], context text
) returns table (name text, bucket_uid uuid) language plpgsql as $$
declare
  found_uid uuid;
begin
  -- Before the names, so that these are never those of a bucket that has been made again meanwhile.
  select b.uid into found_uid from storage.bucket_settings(bucket) b;
  perform storage.act_as(context);
  return query select o.name, found_uid from storage.objects o where o.bucket_id = bucket and o.name = any (names);
end $$;

-- Whether the caller's policies allow this write: it is made, and taken back (wire §7.7). Fails as the write itself
-- would: 42501 denied, 23505 exists, 23503 no such bucket, SR003 when a trigger leaves the row out. What a user's trigger
-- raises is an error whatever its SQLSTATE, PT200 too: only the function itself ends its trial.
create or replace function storage.trial_write(
  bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[], new_days integer, attributes jsonb
) returns void language plpgsql as $$
declare
  is_made boolean := false;
begin
  if upsert then
    insert into storage.objects as o (
      bucket_id, name, version, owner, owner_id, metadata, user_metadata, tags, auto_delete_after_days,
      file_name, organization_id, access_level, asset_type, enable_indexing)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata, new_tags, new_days,
      attributes ->> 'file_name', attributes ->> 'organization_id', coalesce(attributes ->> 'access_level', 'private'),
      attributes ->> 'asset_type', coalesce((attributes ->> 'enable_indexing')::boolean, true))
    on conflict (bucket_id, name) do update set
      version = excluded.version,
      owner = coalesce(excluded.owner, o.owner),
      owner_id = coalesce(excluded.owner_id, o.owner_id),
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata,
      tags = excluded.tags,
      auto_delete_after_days = coalesce(excluded.auto_delete_after_days, o.auto_delete_after_days),
      file_name = excluded.file_name,
      organization_id = coalesce(excluded.organization_id, o.organization_id),
      access_level = excluded.access_level,
      asset_type = excluded.asset_type,
      enable_indexing = excluded.enable_indexing
    returning o.id into object;
  else
    insert into storage.objects (
      bucket_id, name, version, owner, owner_id, metadata, user_metadata, tags, auto_delete_after_days,
      file_name, organization_id, access_level, asset_type, enable_indexing)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata, new_tags, new_days,
      attributes ->> 'file_name', attributes ->> 'organization_id', coalesce(attributes ->> 'access_level', 'private'),
      attributes ->> 'asset_type', coalesce((attributes ->> 'enable_indexing')::boolean, true));
  end if;
  if not found then
    raise exception 'a trigger has left the row out' using errcode = 'SR003';
  end if;
  is_made := true; -- a variable keeps its value when the block's work is undone
  raise sqlstate 'PT200';
exception when sqlstate 'PT200' then
  if not is_made then
    raise;
  end if;
end $$;

-- Asks the policies, and, with `upload` given, puts that version on the list of those being written.
create or replace function storage.begin_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[], new_days integer, attributes jsonb,
  context text
) returns void language plpgsql as $$
begin
  if upload is not null then
    perform set_config('role', 'service_role', true);
    insert into storage.uploads (version, bucket_uid, bucket_id, name)
    values (upload, upload_bucket_uid, bucket, object);
  end if;
  perform storage.act_as(context);
  perform storage.trial_write(
    bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert, new_tags, new_days, attributes);
end $$;

-- Stores an object whose bytes are given, all in one call: under the caller's policies the row is made, or by `upsert`
-- replaced, as insertObject and upsertObject do (src/database/queries/objects.ts), and fails as there; then its bytes are
-- put into storage.inline_bytes, so that who may not write makes nobody write them. Bytes that are null are a file already,
-- under the bucket; then it fails with SR001 when there has been a sweep after `known_sweep`, which may have taken the file for
-- one that nothing will ever name.
--
-- Without an id: the bucket is not, or not any more, as the server knows it, and nothing was done. Its settings are told, if
-- there is one.
create or replace function storage.put_object_version(
  bucket text, known_uid uuid, known_mark text,
  object text, new_id uuid, new_version uuid, new_owner uuid, new_owner_id text, new_metadata jsonb,
  new_user_metadata jsonb, new_checksum text, new_tags text[], new_bytes bytea, known_sweep bigint, upsert boolean,
  attributes jsonb, context text,
  out uid uuid, out file_size_limit bigint, out allowed_mime_types text[], out mark text,
  out id uuid, out owner_id text, out created boolean, out created_at timestamptz, out updated_at timestamptz,
  out removed_versions uuid[], out removed_buckets uuid[], out keeps_versions boolean, out is_versioned boolean
) language plpgsql as $$
declare
  role_set text;
  began timestamptz;
  place constant uuid := case when new_bytes is null then known_uid else storage.inline_bucket() end;
  status text;
  -- Then there is nothing to be found out about versions of that name, and no trigger has to.
  is_unversioned boolean;
  is_replacing boolean;
  -- What most say nothing of costs them no more than this.
  new_file_name text;
  new_organization text;
  new_level text := 'private';
  new_type text;
  new_indexing boolean := true;
begin
  role_set := set_config('role', 'service_role', true);
  select b.uid, b.file_size_limit, b.allowed_mime_types, storage.settings_mark(b.file_size_limit, b.allowed_mime_types),
    b.versioning_status
  into uid, file_size_limit, allowed_mime_types, mark, status
  from storage.buckets b where b.id = bucket;
  if uid is distinct from known_uid or mark is distinct from known_mark then
    return;
  end if;
  is_unversioned := status = 'DISABLED';
  -- What is held is there to be replaced, and the row that is made for that is none whose place in the history has to be found.
  if upsert and not is_unversioned then
    select true into is_replacing from storage.objects o where o.bucket_id = bucket and o.name = object for key share;
  end if;

  if attributes is not null then
    new_file_name := attributes ->> 'file_name';
    new_organization := attributes ->> 'organization_id';
    new_level := coalesce(attributes ->> 'access_level', new_level);
    new_type := attributes ->> 'asset_type';
    new_indexing := coalesce((attributes ->> 'enable_indexing')::boolean, new_indexing);
  end if;

  began := storage.act_as(context);
  if upsert then
    insert into storage.objects as o (id, bucket_id, name, version, bytes_bucket, owner, owner_id, metadata,
      user_metadata, checksum, tags, version_number, file_name, organization_id, access_level, asset_type, enable_indexing)
    values (new_id, bucket, object, new_version, place, new_owner, new_owner_id, new_metadata,
      new_user_metadata, new_checksum, new_tags, case when is_unversioned or is_replacing then 1 end,
      new_file_name, new_organization, new_level, new_type, new_indexing)
    on conflict (bucket_id, name) do update set
      version = excluded.version,
      bytes_bucket = excluded.bytes_bucket,
      owner = coalesce(excluded.owner, o.owner),
      owner_id = coalesce(excluded.owner_id, o.owner_id),
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata,
      checksum = excluded.checksum,
      tags = excluded.tags,
      file_name = excluded.file_name,
      organization_id = coalesce(excluded.organization_id, o.organization_id),
      access_level = excluded.access_level,
      asset_type = excluded.asset_type,
      enable_indexing = excluded.enable_indexing,
      version_number = coalesce(o.version_number, 1) + 1,
      current_since = greatest(clock_timestamp(), o.current_since + interval '1 microsecond'),
      is_versioned = status = 'ENABLED'
    returning o.id, o.owner_id, o.xmax = 0, o.created_at, o.updated_at, o.is_versioned
    into id, owner_id, created, created_at, updated_at, is_versioned;
  else
    -- Asks for nothing back, since that would need a SELECT policy.
    insert into storage.objects (id, bucket_id, name, version, bytes_bucket, owner, owner_id, metadata,
      user_metadata, checksum, tags, version_number, file_name, organization_id, access_level, asset_type, enable_indexing)
    values (new_id, bucket, object, new_version, place, new_owner, new_owner_id, new_metadata,
      new_user_metadata, new_checksum, new_tags, case when is_unversioned then 1 end,
      new_file_name, new_organization, new_level, new_type, new_indexing);
  end if;
  if not found then
    raise exception 'a trigger has left the row out' using errcode = 'SR003';
  end if;
  if not upsert then
    id := new_id;
    owner_id := new_owner_id;
    created := true;
    created_at := began;
    updated_at := began;
  end if;

  -- The row keeps its bucket from being deleted, so that what is seen of that after it holds until the commit.
  role_set := set_config('role', 'service_role', true);
  if new_bytes is null then
    perform from storage.buckets b where b.id = bucket and b.uid = known_uid;
  else
    insert into storage.inline_bytes (version, bytes)
    select new_version, new_bytes from storage.buckets b where b.id = bucket and b.uid = known_uid;
  end if;
  if not found then
    raise exception 'the bucket was deleted and made anew' using errcode = 'SR004';
  end if;
  -- Asked when the row is made: a sweep that begins later waits for this transaction.
  if new_bytes is null and known_sweep is distinct from storage.last_sweep() then
    raise exception 'a sweep has begun since the file was made' using errcode = 'SR001';
  end if;
  keeps_versions := not is_unversioned;
  if keeps_versions and not upsert then
    -- The id is that of its history.
    select o.id, o.is_versioned into id, is_versioned from storage.objects o where o.bucket_id = bucket and o.name = object;
  end if;
  -- A created row replaces nothing, but there may be too many of its name before it.
  if not (created and is_unversioned) then
    select array_agg(r.version), array_agg(r.bucket_uid) into removed_versions, removed_buckets
    from storage.removals r where r.transaction = pg_current_xact_id_if_assigned();
    -- As `own_removals`. Most have replaced nothing outside the database, and need not look for holds.
    if removed_versions is not null then
      if exists (select from storage.backup_holds) then
        removed_versions := null;
        removed_buckets := null;
      end if;
    end if;
  end if;
  -- What triggers do at the end of the transaction they do as the caller.
  role_set := set_config('role', storage.role_of(context), true);
end $$;

-- Deletes what the caller's policies let him see and delete, of these names, all in one call: each row is told of, as
-- 'deleted'; then those of the names that are there all the same, as 'there': none of them, those that are 'seen' by the
-- caller, or 'all'; then, as 'marker', those of `markable` that are deleted in a bucket that keeps versions, with the marker that
-- says so; and last, as 'removal', which versions outside the database this has made superfluous. `deletion` is what becomes of
-- them (storage.deletion), null as their bucket says.
create or replace function storage.delete_objects(
  bucket text, names text[], markable text[], looking text, deletion text, context text
) returns table (
  outcome text, id uuid, name text, version text, bytes_bucket uuid, owner uuid, owner_id text,
  created_at timestamptz, updated_at timestamptz, last_accessed_at timestamptz, metadata jsonb, user_metadata jsonb,
  is_versioned boolean
) language plpgsql as $$
declare
  role_set text;
  began timestamptz;
  gone integer;
  status text;
  had text[]; -- names that have an object, and a history
  removed_versions uuid[];
  removed_buckets uuid[];
begin
  began := storage.act_as(context);
  if deletion = 'erase' then
    role_set := set_config('role', 'service_role', true);
    if storage.role_of(context) <> 'service_role' then
      -- What others have left of these names they may keep: of each it is asked.
      had := array(
        select o.name from storage.objects o
        where o.bucket_id = bucket and o.name = any (names) and exists (
          select from storage.object_versions v where v.bucket_id = bucket and v.name = o.name and v.kind <> 'trash'));
      -- Before their objects, as all lock a history, and in one order.
      perform pg_advisory_xact_lock(storage.history_key(bucket, h.name))
      from (select n.name from unnest(had) n (name) order by n.name collate "C" offset 0) h;
      deletion := 'purge';
    end if;
    began := storage.act_as(context);
  end if;
  if deletion is not null then
    perform set_config('storage.deletion', deletion, true);
  end if;
  if cardinality(names) = 1 then
    -- As the next one, whose plan for an array is made anew each time.
    return query
      delete from storage.objects o where o.bucket_id = bucket and o.name = names[1]
      returning 'deleted', o.id, o.name, o.version, o.bytes_bucket, o.owner, o.owner_id,
        o.created_at, o.updated_at, o.last_accessed_at, o.metadata, o.user_metadata, o.is_versioned;
  else
    return query
      delete from storage.objects o where o.bucket_id = bucket and o.name = any (names)
      returning 'deleted', o.id, o.name, o.version, o.bytes_bucket, o.owner, o.owner_id,
        o.created_at, o.updated_at, o.last_accessed_at, o.metadata, o.user_metadata, o.is_versioned;
  end if;
  get diagnostics gone = row_count;
  role_set := set_config('role', 'service_role', true);
  if cardinality(had) > 0 then
    perform storage.erase_history(bucket, had, context);
    role_set := set_config('role', 'service_role', true);
  end if;
  if deletion is null or deletion not in ('erase', 'purge') then
    select b.versioning_status into status from storage.buckets b where b.id = bucket;
    if status <> 'DISABLED' then
      return query
        select 'marker', m.object_id, m.name, m.version, null::uuid, null::uuid, null, null::timestamptz, null::timestamptz,
          null::timestamptz, null::jsonb, null::jsonb, m.is_versioned
        from storage.mark_deleted(bucket, markable, context) m;
      role_set := set_config('role', 'service_role', true);
    end if;
  end if;
  -- Behind the markers: what has come since it was deleted from is no name without an object, and is told of.
  if gone < cardinality(names) and looking <> 'none' then
    if looking <> 'all' then
      began := storage.act_as(context);
    end if;
    return query
      select 'there', o.id, o.name, o.version, o.bytes_bucket, null::uuid, null, null::timestamptz, null::timestamptz,
        null::timestamptz, null::jsonb, null::jsonb, null::boolean
      from storage.objects o where o.bucket_id = bucket and o.name = any (names);
    role_set := set_config('role', 'service_role', true);
  end if;
  -- As in `put_object`.
  select array_agg(r.version), array_agg(r.bucket_uid) into removed_versions, removed_buckets
  from storage.removals r where r.transaction = pg_current_xact_id_if_assigned();
  if removed_versions is not null then
    return query
      select 'removal', null::uuid, null, u.version::text, u.bucket_uid, null::uuid, null, null::timestamptz,
        null::timestamptz, null::timestamptz, null::jsonb, null::jsonb, null::boolean
      from unnest(removed_versions, removed_buckets) u (version, bucket_uid)
      where not exists (select from storage.backup_holds);
  end if;
  -- What triggers do at the end of the transaction they do as the caller.
  role_set := set_config('role', storage.role_of(context), true);
end $$;

-- What each update of a row says of itself. All in one trigger that asks inside: the condition of a trigger PostgreSQL reads anew
-- with each statement, which takes longer than to call it.
--
-- A mark is about one version's bytes, and a comment about one version: another one begins without it. And it is no change of the
-- object, nor is a hash that is noted later than its bytes, nor that the bytes have gone to another place. What the service
-- restores was changed when it says.
--
-- After strongroom_place_version_on_update, which says since when a version is the current one: triggers go by their names.
create or replace function storage.touch_updated_at() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  is_other constant boolean := new.version is distinct from old.version;
  has_moved constant boolean := new.bucket_id is distinct from old.bucket_id or new.name is distinct from old.name;
begin
  -- Moved on in the history of its name (`settle_history`): that is no change of the object, and who has a lock has it for longer.
  if new.version_number > old.version_number and new.current_since > old.current_since and not (is_other or has_moved)
    and pg_trigger_depth() > 1
  then
    return new;
  end if;
  -- A lock counts from that moment, which nobody moves.
  if new.current_since is distinct from old.current_since and not (is_other or has_moved) then
    new.current_since := old.current_since;
  end if;
  if new.auto_delete_after_days is distinct from old.auto_delete_after_days
    or (new.auto_delete_after_days is not null and is_other and not has_moved)
  then
    new.auto_delete_at := storage.auto_delete_time(new.current_since, new.created_at, new.auto_delete_after_days);
  end if;
  if current_user = 'service_role' and current_setting('storage.restoring', true) = 'true' then
    return new;
  end if;
  if is_other then
    new.quarantine_reason := null;
    new.quarantined_at := null;
    if not has_moved then
      new.version_comment := case when current_setting('storage.version_comment', true) <> '' then
        storage.trusted_setting('storage.version_comment') end;
    end if;
  elsif new.quarantine_reason is distinct from old.quarantine_reason
    or (old.checksum is null and new.checksum is not null)
    or (new.bytes_bucket is distinct from old.bytes_bucket and new.bucket_id = old.bucket_id)
  then
    return new;
  end if;
  new.updated_at := now();
  return new;
end $$;

create or replace trigger strongroom_touch_updated_at before update on storage.objects
  for each row execute function storage.touch_updated_at();

revoke execute on function
  storage.read_row(text, text, text, text, text),
  storage.visible_names_as(text, text[], text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], integer, jsonb, text),
  storage.put_object_version(
    text, uuid, text, text, uuid, uuid, uuid, text, jsonb, jsonb, text, text[], bytea, bigint, boolean, jsonb, text
  ),
  storage.delete_objects(text, text[], text[], text, text, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.read_row(text, text, text, text, text),
  storage.visible_names_as(text, text[], text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], integer, jsonb, text),
  storage.put_object_version(
    text, uuid, text, text, uuid, uuid, uuid, text, jsonb, jsonb, text, text[], bytea, bigint, boolean, jsonb, text
  ),
  storage.delete_objects(text, text[], text[], text, text, text)
to service_role, strongroom_server;
