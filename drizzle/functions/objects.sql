-- The ways from the server to the rows of objects. Reads and the trial write are one call each, because round trips are
-- what a request costs (decision 0021).

-- Finds a bucket and one object in it. No row: no such bucket, or not for this kind of access. A row whose id
-- is null: no such object, or hidden by RLS.
--
--   access 'public'  anybody; public buckets only, RLS skipped
--          'signed'  a verified signed URL; RLS skipped
--          'caller'  RLS decides, but a public bucket needs no policy (wire §3.4)
--          'policy'  RLS decides
create or replace function storage.read_object(
  access text, bucket text, object text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[]
) language plpgsql as $$
declare
  found_uid uuid;
  found_public boolean;
  role_set text;
  began timestamptz;
begin
  -- Assignments: `perform` would take the way of a query.
  role_set := set_config('role', 'service_role', true);
  select b.uid, b.public into found_uid, found_public from storage.buckets b where b.id = bucket;
  if found_uid is null or (access = 'public' and not found_public) then
    return;
  end if;
  if access in ('public', 'signed') or (access = 'caller' and found_public) then
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason, found_public,
        o.tags
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  else
    began := storage.act_as(context);
    -- The same statement again, not shared with the one above: a plan is kept per role.
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason, found_public,
        o.tags
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  end if;
  if not found then
    bucket_uid := found_uid;
    return next;
  end if;
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
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[] default '{}'
) returns void language plpgsql as $$
declare
  is_made boolean := false;
begin
  if upsert then
    insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata, tags)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata, new_tags)
    on conflict (bucket_id, name) do update set
      version = excluded.version,
      owner = coalesce(excluded.owner, o.owner),
      owner_id = coalesce(excluded.owner_id, o.owner_id),
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata,
      tags = excluded.tags
    returning o.id into object;
  else
    insert into storage.objects (bucket_id, name, version, owner, owner_id, metadata, user_metadata, tags)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata, new_tags);
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
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[],
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
    bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert, new_tags);
end $$;

-- A mark is about one version's bytes: another version begins without it. And it is no change of the object, nor is a hash
-- that is noted later than its bytes.
create or replace function storage.touch_updated_at() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.version is distinct from old.version then
    new.quarantine_reason := null;
    new.quarantined_at := null;
  elsif new.quarantine_reason is distinct from old.quarantine_reason
    or (old.checksum is null and new.checksum is not null)
  then
    return new;
  end if;
  new.updated_at := now();
  return new;
end $$;

create or replace trigger strongroom_touch_updated_at before update on storage.objects
  for each row execute function storage.touch_updated_at();

revoke execute on function
  storage.read_object(text, text, text, text),
  storage.visible_names_as(text, text[], text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.read_object(text, text, text, text),
  storage.visible_names_as(text, text[], text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], text)
to service_role, strongroom_server;
