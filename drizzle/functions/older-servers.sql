-- What servers call that do not know the one argument for the caller (decision 0040), tags, bytes in the database, versions, or that a
-- page of these may end before it is full: during an upgrade they run beside newer ones. Nothing else uses it; a migration may drop all
-- of it once nobody upgrades from there. What one returns stays as it is: they have prepared their statements, and their driver does not
-- get over it when these return something else, so that no connection of theirs answers any more.

-- Fails with 22023 where a text has what stands between them: it would be taken for more than it is.
create or replace function storage.nine_as_context(
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns text language plpgsql immutable as $$
declare
  said constant text[] := array[role, subject, claims, token, operation, method, path, headers, user_buckets::text];
  context constant text := array_to_string(said, E'\x1f', '');
begin
  if length(context) - length(replace(context, E'\x1f', '')) <> cardinality(said) - 1 then
    raise invalid_parameter_value using message = 'a text that is said of the caller has the character U+001F';
  end if;
  return context;
end $$;

create or replace function storage.act_as(
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns timestamptz language plpgsql as $$
begin
  return storage.act_as(storage.nine_as_context(
    role, subject, claims, token, operation, method, path, headers, user_buckets));
end $$;

create or replace function storage.read_object(
  access text, bucket text, object text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[]
) language plpgsql as $$
begin
  return query
    select f.bucket_uid, f.id, f.version, f.bytes_bucket, f.owner_id, f.metadata, f.user_metadata, f.checksum,
      f.created_at, f.updated_at, f.quarantine_reason, f.is_public, f.tags
    from storage.read_row(access, bucket, object, null, context) f;
end $$;

create or replace function storage.read_object(
  access text, bucket text, object text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean
) language plpgsql as $$
begin
  return query
    select f.bucket_uid, f.id, f.version, f.bytes_bucket, f.owner_id, f.metadata, f.user_metadata, f.checksum,
      f.created_at, f.updated_at, f.quarantine_reason, f.is_public
    from storage.read_row(
      access, bucket, object, null,
      storage.nine_as_context(
        role, subject, claims, token, operation, method, path, headers, user_buckets)) f;
end $$;

create or replace function storage.visible_names_as(
  bucket text, names text[],
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (name text, bucket_uid uuid) language plpgsql as $$
begin
  return query
    select f.* from storage.visible_names_as(
      bucket, names,
      storage.nine_as_context(
        role, subject, claims, token, operation, method, path, headers, user_buckets)) f;
end $$;

-- Of servers that know no versions. They ask this before they remove what, to them, nothing names: among it would be all that versions
-- and the trash name. Nothing of it is removed then, and the server's log says why.
create or replace function storage.begin_sweep() returns bigint
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from storage.object_versions) then
    raise exception 'a server of before does not know what versions and the trash name, and removes no bytes: a newer one does'
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  return storage.next_sweep();
end $$;

create or replace function storage.read_object(
  access text, bucket text, object text, bytes_unless text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[], bytes bytea
) language plpgsql as $$
begin
  return query
    select f.bucket_uid, f.id, f.version, f.bytes_bucket, f.owner_id, f.metadata, f.user_metadata, f.checksum,
      f.created_at, f.updated_at, f.quarantine_reason, f.is_public, f.tags, f.bytes
    from storage.read_row(access, bucket, object, bytes_unless, context) f;
end $$;

create or replace function storage.put_object(
  bucket text, known_uid uuid, known_mark text, object text, new_id uuid, new_version uuid, new_owner uuid,
  new_owner_id text, new_metadata jsonb, new_user_metadata jsonb, new_checksum text, new_tags text[], new_bytes bytea,
  known_sweep bigint, upsert boolean, context text,
  out uid uuid, out file_size_limit bigint, out allowed_mime_types text[], out mark text,
  out id uuid, out owner_id text, out created boolean, out created_at timestamptz, out updated_at timestamptz,
  out removed_versions uuid[], out removed_buckets uuid[]
) language plpgsql as $$
begin
  select f.uid, f.file_size_limit, f.allowed_mime_types, f.mark, f.id, f.owner_id, f.created, f.created_at, f.updated_at,
    f.removed_versions, f.removed_buckets
  into uid, file_size_limit, allowed_mime_types, mark, id, owner_id, created, created_at, updated_at,
    removed_versions, removed_buckets
  from storage.put_object_version(
    bucket, known_uid, known_mark, object, new_id, new_version, new_owner, new_owner_id, new_metadata, new_user_metadata,
    new_checksum, new_tags, new_bytes, known_sweep, upsert, null, context) f;
end $$;

create or replace function storage.still_public(buckets text[]) returns setof text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id from storage.still_public(buckets, '{}') p (id)
$$;

create or replace function storage.delete_objects(bucket text, names text[], looking text, context text) returns table (
  outcome text, id uuid, name text, version text, bytes_bucket uuid, owner uuid, owner_id text,
  created_at timestamptz, updated_at timestamptz, last_accessed_at timestamptz, metadata jsonb, user_metadata jsonb
) language plpgsql as $$
begin
  return query
    select f.outcome, f.id, f.name, f.version, f.bytes_bucket, f.owner, f.owner_id, f.created_at, f.updated_at,
      f.last_accessed_at, f.metadata, f.user_metadata
    from storage.delete_objects(bucket, names, '{}', looking, null, context) f;
end $$;

-- Of servers that know no attributes.
create or replace function storage.read_object_now(
  access text, bucket text, object text, bytes_unless text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[], bytes bytea, keeps_versions boolean, is_versioned boolean,
  auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql as $$
begin
  return query
    select f.bucket_uid, f.id, f.version, f.bytes_bucket, f.owner_id, f.metadata, f.user_metadata, f.checksum,
      f.created_at, f.updated_at, f.quarantine_reason, f.is_public, f.tags, f.bytes, f.keeps_versions, f.is_versioned,
      f.auto_delete_after_days, f.auto_delete_at
    from storage.read_row(access, bucket, object, bytes_unless, context) f;
end $$;

create or replace function storage.read_version(
  access text, bucket text, object text, wanted text, moment timestamptz, bytes_unless text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[], bytes bytea,
  archived_at timestamptz, is_versioned boolean, is_delete_marker boolean, version_number integer, is_latest boolean,
  keeps_versions boolean, auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql as $$
begin
  return query
    select f.bucket_uid, f.id, f.version, f.bytes_bucket, f.owner_id, f.metadata, f.user_metadata, f.checksum,
      f.created_at, f.updated_at, f.quarantine_reason, f.is_public, f.tags, f.bytes, f.archived_at, f.is_versioned,
      f.is_delete_marker, f.version_number, f.is_latest, f.keeps_versions, f.auto_delete_after_days, f.auto_delete_at
    from storage.read_version_row(access, bucket, object, wanted, moment, bytes_unless, context) f;
end $$;

create or replace function storage.put_object_version(
  bucket text, known_uid uuid, known_mark text, object text, new_id uuid, new_version uuid, new_owner uuid,
  new_owner_id text, new_metadata jsonb, new_user_metadata jsonb, new_checksum text, new_tags text[], new_bytes bytea,
  known_sweep bigint, upsert boolean, context text,
  out uid uuid, out file_size_limit bigint, out allowed_mime_types text[], out mark text,
  out id uuid, out owner_id text, out created boolean, out created_at timestamptz, out updated_at timestamptz,
  out removed_versions uuid[], out removed_buckets uuid[], out keeps_versions boolean, out is_versioned boolean
) language plpgsql as $$
begin
  select f.* into uid, file_size_limit, allowed_mime_types, mark, id, owner_id, created, created_at, updated_at,
    removed_versions, removed_buckets, keeps_versions, is_versioned
  from storage.put_object_version(
    bucket, known_uid, known_mark, object, new_id, new_version, new_owner, new_owner_id, new_metadata, new_user_metadata,
    new_checksum, new_tags, new_bytes, known_sweep, upsert, null, context) f;
end $$;

create or replace function storage.trial_write(
  bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[], new_days integer
) returns void language plpgsql as $$
begin
  perform storage.trial_write(
    bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert, new_tags, new_days, null);
end $$;

create or replace function storage.begin_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[], new_days integer,
  context text
) returns void language plpgsql as $$
begin
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata,
    upsert, new_tags, new_days, null, context);
end $$;

-- Of servers that know no days after which an object goes.
create or replace function storage.trial_write(
  bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[] default '{}'
) returns void language plpgsql as $$
begin
  perform storage.trial_write(
    bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert, new_tags, null, null);
end $$;

create or replace function storage.begin_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean, new_tags text[],
  context text
) returns void language plpgsql as $$
begin
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata,
    upsert, new_tags, null, null, context);
end $$;

-- Of servers that know no tags.
create or replace function storage.begin_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  context text
) returns void language plpgsql as $$
begin
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata,
    upsert, '{}', null, null, context);
end $$;

create or replace function storage.begin_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns void language plpgsql as $$
begin
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata,
    upsert, '{}', null, null,
    storage.nine_as_context(
      role, subject, claims, token, operation, method, path, headers, user_buckets));
end $$;

create or replace function storage.begin_resumable_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  signed boolean, length bigint, sent_metadata text, new_content jsonb, lifetime_ms double precision,
  whose text, largest bigint, most bigint, most_bytes bigint, idle_ms double precision,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns timestamptz language plpgsql as $$
begin
  return storage.begin_resumable_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata,
    upsert, signed, length, sent_metadata, new_content, lifetime_ms, whose, largest, most, most_bytes, idle_ms,
    storage.nine_as_context(
      role, subject, claims, token, operation, method, path, headers, user_buckets));
end $$;

create or replace function storage.ask_resumable_upload(
  upload uuid, bucket text, object text, signed boolean, owner uuid, upsert boolean,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  bucket_id text, name text, bucket_uid uuid, owner_id text, owner_role text, is_signed boolean,
  upload_length bigint, upload_offset bigint, upload_metadata text, content jsonb, notes text,
  expires_at timestamptz, state text,
  has_bucket boolean, file_size_limit bigint, allowed_mime_types text[]
) language plpgsql as $$
begin
  return query
    select f.* from storage.ask_resumable_upload(
      upload, bucket, object, signed, owner, upsert,
      storage.nine_as_context(
        role, subject, claims, token, operation, method, path, headers, user_buckets)) f;
end $$;

create or replace function storage.list_folder_as(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text,
  exact_folders boolean, context text
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql as $$
begin
  return query
    select f.name, f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata
    from storage.folder_entries_as(
      bucket, folder, search, max_rows, skip, sort_column, sort_order, exact_folders, context) f;
end $$;

create or replace function storage.list_folder_as(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean, exact_folders boolean default false
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql as $$
begin
  return query
    select f.* from storage.list_folder_as(
      bucket, folder, search, max_rows, skip, sort_column, sort_order,
      exact_folders,
      storage.nine_as_context(
        role, subject, claims, token, operation, method, path, headers, user_buckets)) f;
end $$;

create or replace function storage.list_page_as(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text, context text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb
) language plpgsql as $$
begin
  return query
    select f.name, f.is_folder, f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata
    from storage.page_entries_as(
      bucket, prefix, delimited, max_rows, after, after_time, sort_column, sort_order, context) f;
end $$;

create or replace function storage.list_page_as(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb
) language plpgsql as $$
begin
  return query
    select f.* from storage.list_page_as(
      bucket, prefix, delimited, max_rows, after, after_time, sort_column, sort_order,
      storage.nine_as_context(
        role, subject, claims, token, operation, method, path, headers, user_buckets)) f;
end $$;

create or replace function storage.readable_events(
  positions bigint[],
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (event_position bigint, sees boolean, saw boolean) language plpgsql as $$
begin
  return query
    select f.* from storage.readable_events(
      positions,
      storage.nine_as_context(
        role, subject, claims, token, operation, method, path, headers, user_buckets)) f;
end $$;

-- Their pages of what was there end when they are full.
create or replace function storage.list_versions_as(
  bucket text, prefix text, delimiter text, after_name text, after_version text, max_rows integer,
  noncurrent text, markers text, exact boolean, context text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz,
  metadata jsonb, version text, version_number integer, is_versioned boolean, is_delete_marker boolean, is_latest boolean,
  since timestamptz, archived_at timestamptz, owner_id text, checksum text, comment text,
  auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql as $$
begin
  return query
    select f.name, f.is_folder, f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata, f.version, f.version_number,
      f.is_versioned, f.is_delete_marker, f.is_latest, f.since, f.archived_at, f.owner_id, f.checksum, f.comment,
      f.auto_delete_after_days, f.auto_delete_at
    from storage.list_history_as(
      bucket, prefix, delimiter, after_name, after_version, max_rows, null, noncurrent, markers, exact, null, context) f;
end $$;

create or replace function storage.list_at_as(
  bucket text, prefix text, delimiter text, moment timestamptz, after_name text, max_rows integer, context text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz,
  metadata jsonb, version text, version_number integer, is_versioned boolean, is_delete_marker boolean, is_latest boolean,
  since timestamptz, archived_at timestamptz, owner_id text, checksum text, comment text,
  auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql as $$
begin
  return query
    select f.name, f.is_folder, f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata, f.version, f.version_number,
      f.is_versioned, f.is_delete_marker, f.is_latest, f.since, f.archived_at, f.owner_id, f.checksum, f.comment,
      f.auto_delete_after_days, f.auto_delete_at
    from storage.list_history_as(
      bucket, prefix, delimiter, after_name, null, max_rows, null, 'exclude', 'exclude', false, moment, context) f;
end $$;

create or replace function storage.names_to_as(
  bucket text, prefix text, target text, moment timestamptz, began timestamptz, after_name text, max_rows integer, context text
) returns table (
  name text, target_name text, outcome text, reason text, current text, is_freed_first boolean
) language plpgsql as $$
begin
  return query select * from storage.names_at_as(bucket, prefix, target, moment, began, after_name, max_rows, null, context);
end $$;

-- Here a bucket is looked through at once.
create or replace function storage.has_locked(bucket text) returns boolean
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  return (select f.is_locked from storage.any_locked(bucket, false, '', -1, 2147483647) f)
    or (select f.is_locked from storage.any_locked(bucket, true, '', -1, 2147483647) f);
end $$;

revoke execute on function
  storage.nine_as_context(text, text, text, text, text, text, text, text, boolean),
  storage.act_as(text, text, text, text, text, text, text, text, boolean),
  storage.read_object(text, text, text, text),
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean),
  storage.begin_sweep(),
  storage.read_object(text, text, text, text, text),
  storage.put_object(
    text, uuid, text, text, uuid, uuid, uuid, text, jsonb, jsonb, text, text[], bytea, bigint, boolean, text
  ),
  storage.read_object_now(text, text, text, text, text),
  storage.read_version(text, text, text, text, timestamptz, text, text),
  storage.put_object_version(
    text, uuid, text, text, uuid, uuid, uuid, text, jsonb, jsonb, text, text[], bytea, bigint, boolean, text
  ),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], integer, text),
  storage.still_public(text[]),
  storage.delete_objects(text, text[], text, text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text),
  storage.begin_upload(
    uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.begin_resumable_upload(
    uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision,
    text, bigint, bigint, bigint, double precision,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.ask_resumable_upload(
    uuid, text, text, boolean, uuid, boolean,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.list_folder_as(text, text, text, integer, integer, text, text, boolean, text),
  storage.list_folder_as(
    text, text, text, integer, integer, text, text,
    text, text, text, text, text, text, text, text, boolean, boolean
  ),
  storage.list_page_as(text, text, boolean, integer, text, timestamptz, text, text, text),
  storage.list_page_as(
    text, text, boolean, integer, text, timestamptz, text, text,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.readable_events(bigint[], text, text, text, text, text, text, text, text, boolean),
  storage.list_versions_as(text, text, text, text, text, integer, text, text, boolean, text),
  storage.list_at_as(text, text, text, timestamptz, text, integer, text),
  storage.names_to_as(text, text, text, timestamptz, timestamptz, text, integer, text),
  storage.has_locked(text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.nine_as_context(text, text, text, text, text, text, text, text, boolean),
  storage.act_as(text, text, text, text, text, text, text, text, boolean),
  storage.read_object(text, text, text, text),
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean),
  storage.begin_sweep(),
  storage.read_object(text, text, text, text, text),
  storage.put_object(
    text, uuid, text, text, uuid, uuid, uuid, text, jsonb, jsonb, text, text[], bytea, bigint, boolean, text
  ),
  storage.read_object_now(text, text, text, text, text),
  storage.read_version(text, text, text, text, timestamptz, text, text),
  storage.put_object_version(
    text, uuid, text, text, uuid, uuid, uuid, text, jsonb, jsonb, text, text[], bytea, bigint, boolean, text
  ),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], integer, text),
  storage.still_public(text[]),
  storage.delete_objects(text, text[], text, text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text[], text),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text),
  storage.begin_upload(
    uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.begin_resumable_upload(
    uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision,
    text, bigint, bigint, bigint, double precision,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.ask_resumable_upload(
    uuid, text, text, boolean, uuid, boolean,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.list_folder_as(text, text, text, integer, integer, text, text, boolean, text),
  storage.list_folder_as(
    text, text, text, integer, integer, text, text,
    text, text, text, text, text, text, text, text, boolean, boolean
  ),
  storage.list_page_as(text, text, boolean, integer, text, timestamptz, text, text, text),
  storage.list_page_as(
    text, text, boolean, integer, text, timestamptz, text, text,
    text, text, text, text, text, text, text, text, boolean
  ),
  storage.readable_events(bigint[], text, text, text, text, text, text, text, text, boolean),
  storage.list_versions_as(text, text, text, text, text, integer, text, text, boolean, text),
  storage.list_at_as(text, text, text, timestamptz, text, integer, text),
  storage.names_to_as(text, text, text, timestamptz, timestamptz, text, integer, text),
  storage.has_locked(text)
to service_role, strongroom_server;
