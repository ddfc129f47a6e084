-- What was there, for those who may see it (decision 0070): reads of versions. A name that has an object shows its
-- versions to whoever sees that; of a name that has none, a row is put back in a block that is taken back again, and asked for.

-- Makes an object's row as it was. What is generated, PostgreSQL makes anew; a column that has come since has its default.
create or replace function storage.put_back(item storage.objects) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  known constant jsonb := to_jsonb(item);
  columns text;
begin
  select string_agg(quote_ident(a.attname), ', ') into columns
  from pg_attribute a
  where a.attrelid = 'storage.objects'::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and not (a.attnotnull and known -> a.attname::text = 'null');
  execute format('insert into storage.objects (%1$s) select %1$s from (select ($1).*) i', columns) using item;
end $$;

-- Gives what has a name now all that policies may look at from a former version of it, for as long as that is judged.
create or replace function storage.judge_as(item storage.objects) returns void
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  update storage.objects o
  set owner = item.owner, owner_id = item.owner_id, metadata = item.metadata, user_metadata = item.user_metadata,
    tags = coalesce(item.tags, '{}'), created_at = item.created_at, updated_at = item.updated_at,
    last_accessed_at = item.last_accessed_at, file_name = item.file_name, organization_id = item.organization_id,
    access_level = coalesce(item.access_level, 'private'), asset_type = item.asset_type,
    enable_indexing = coalesce(item.enable_indexing, true)
  where o.bucket_id = item.bucket_id and o.name = item.name;
  if not found then
    raise exception 'a trigger keeps a former version from being judged' using errcode = '42501';
  end if;
end $$;

-- Whether the caller may see what has, or had, the name of this row, or, where `how` is 'change' or 'delete', may do that with it.
-- Of what is there no more he has to see what has the name now, and it has to be his to see by itself: who takes the name of
-- what another has deleted does not come by that.
create or replace function storage.may_have(item storage.objects, how text, context text) returns boolean
  language plpgsql as $$
declare
  is_service constant boolean := storage.role_of(context) = 'service_role';
  was_there boolean;
  is_former boolean;
  is_asked boolean := false;
  answer boolean;
begin
  perform set_config('role', 'service_role', true);
  if is_service and how = 'see' then
    return true;
  end if;
  for tries in 1 .. 5 loop
    -- The service sees all; a marker has nothing that could be judged.
    select o.version is distinct from item.version and item.is_delete_marker is not true and not is_service
    into is_former from storage.objects o where o.bucket_id = item.bucket_id and o.name = item.name;
    was_there := found;
    if not was_there and exists (select from storage.objects o where o.id = item.id) then
      item.id := gen_random_uuid(); -- its own has gone to another name
    end if;
    begin
      if not was_there then
        perform set_config('storage.promoting', 'true', true);
        perform storage.put_back(item);
      end if;
      was_there := true;
      perform storage.act_as(context);
      if is_former then
        perform from storage.objects o where o.bucket_id = item.bucket_id and o.name = item.name;
        if found then
          perform set_config('role', 'service_role', true);
          perform storage.judge_as(item);
          perform storage.act_as(context);
        end if;
      end if;
      if how = 'delete' then
        delete from storage.objects o where o.bucket_id = item.bucket_id and o.name = item.name;
      elsif how = 'change' then
        update storage.objects o set metadata = o.metadata where o.bucket_id = item.bucket_id and o.name = item.name;
      else
        perform from storage.objects o where o.bucket_id = item.bucket_id and o.name = item.name;
      end if;
      answer := found; -- a variable keeps its value when the block's work is undone
      is_asked := true;
      raise sqlstate 'PT200';
    exception
      when sqlstate 'PT200' then
        if not is_asked then
          raise;
        end if;
        return answer;
      when unique_violation then
        -- Not of what a trigger does: at this moment somebody has given the name an object. It is judged beside that.
        if was_there or tries = 5 then
          raise;
        end if;
        perform set_config('role', 'service_role', true);
    end;
  end loop;
end $$;

-- What a policy is asked about in place of a marker, which has nothing that it could judge: the newest version that it hides.
create or replace function storage.judged(item storage.objects, is_marker boolean) returns storage.objects
  language plpgsql stable as $$
declare
  hidden storage.object_versions;
begin
  if is_marker then
    select v.* into hidden from storage.object_versions v
    where v.bucket_id = item.bucket_id and v.name = item.name and v.kind = 'version' and v.sequence < (
      select max(m.sequence) from storage.object_versions m
      where m.bucket_id = item.bucket_id and m.name = item.name and m.version = item.version)
    order by v.sequence desc limit 1;
    if found then
      return storage.as_object(hidden);
    end if;
  end if;
  return item;
end $$;

-- Finds one version of a name, as `read_object_now` finds that: by its id; as 'null', S3's null version; by its number,
-- as '#3'; or, if `wanted` is null, what was there at a moment, be it in the trash now. A row whose id is null: there is none, or
-- not for this caller.
create or replace function storage.read_version_row(
  access text, bucket text, object text, wanted text, moment timestamptz, bytes_unless text, context text
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean, tags text[], bytes bytea,
  archived_at timestamptz, is_versioned boolean, is_delete_marker boolean, version_number integer, is_latest boolean,
  keeps_versions boolean, auto_delete_after_days integer, auto_delete_at timestamptz, attributes jsonb
) language plpgsql as $$
declare
  item storage.objects;
  before storage.object_versions;
  has_object boolean;
begin
  perform set_config('role', 'service_role', true);
  select b.uid, b.public, b.versioning_status <> 'DISABLED' into bucket_uid, is_public, keeps_versions
  from storage.buckets b where b.id = bucket;
  if bucket_uid is null or (access = 'public' and not is_public) then
    return;
  end if;
  select o.* into item from storage.objects o where o.bucket_id = bucket and o.name = object;
  has_object := item.id is not null;
  is_delete_marker := false;
  is_latest := true;
  if not has_object or not coalesce(case
      when wanted = 'null' then item.is_versioned is not true
      when wanted like '#%' then coalesce(item.version_number, 1) = substr(wanted, 2)::integer
      when wanted is not null then item.version = wanted
      else coalesce(item.current_since, item.updated_at, item.created_at) <= moment
    end, false)
  then
    select v.* into before from storage.object_versions v
    where v.bucket_id = bucket and v.name = object and (v.kind <> 'trash' or (moment is not null and access <> 'public')) and case
        when wanted = 'null' then not v.is_versioned
        when wanted like '#%' then v.version_number = substr(wanted, 2)::integer
        when wanted is not null then v.version = wanted
        else v.valid_from <= moment and moment < v.archived_at
      end
    order by v.sequence desc limit 1;
    if not found then
      return next;
      return;
    end if;
    item := storage.as_object(before);
    is_delete_marker := before.is_delete_marker;
    is_latest := before.kind <> 'trash' and not has_object and not exists (
      select from storage.object_versions v
      where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' and v.sequence > before.sequence);
    if not is_latest or not is_delete_marker then
      archived_at := before.archived_at;
    end if;
  end if;

  -- What is in the trash of a public bucket is public no more.
  if access not in ('public', 'signed') and not (access = 'caller' and is_public and before.kind is distinct from 'trash')
    and not storage.may_have(storage.judged(item, is_delete_marker), 'see', context)
  then
    is_delete_marker := null;
    return next;
    return;
  end if;
  perform set_config('role', 'service_role', true);
  id := item.id;
  version := item.version;
  bytes_bucket := coalesce(item.bytes_bucket, bucket_uid);
  owner_id := item.owner_id;
  metadata := item.metadata;
  user_metadata := item.user_metadata;
  checksum := item.checksum;
  created_at := item.created_at;
  updated_at := item.updated_at;
  quarantine_reason := item.quarantine_reason;
  tags := coalesce(item.tags, '{}');
  attributes := storage.attributes_of(item);
  is_versioned := coalesce(item.is_versioned, false);
  version_number := coalesce(item.version_number, 1);
  if before.sequence is null then
    auto_delete_after_days := item.auto_delete_after_days;
    auto_delete_at := item.auto_delete_at;
  end if;
  if bytes_unless <> version and bytes_bucket = storage.inline_bucket() then
    select i.bytes into bytes from storage.inline_bytes i
    where i.version = case
      when read_version_row.version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
      then read_version_row.version::uuid end;
  end if;
  -- What triggers do at the end of the transaction they do as whoever reads.
  perform set_config('role', storage.role_of(context), true);
  return next;
end $$;

-- The marker by which a name is deleted now, for who might see what it hides. No row: there is none, or not for this caller.
create or replace function storage.read_marker(access text, bucket text, object text, context text) returns table (
  version text, is_versioned boolean
) language plpgsql as $$
declare
  newest storage.object_versions;
  bucket_is_public boolean;
begin
  perform set_config('role', 'service_role', true);
  select b.public into bucket_is_public from storage.buckets b where b.id = bucket;
  if exists (select from storage.objects o where o.bucket_id = bucket and o.name = object) then
    return;
  end if;
  select v.* into newest from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' order by v.sequence desc limit 1;
  if newest.kind is distinct from 'delete_marker' then
    return;
  end if;
  if access not in ('public', 'signed') and not (access = 'caller' and bucket_is_public)
    and not storage.may_have(storage.judged(storage.as_object(newest), true), 'see', context)
  then
    return;
  end if;
  version := newest.version;
  is_versioned := newest.is_versioned;
  -- What triggers do at the end of the transaction they do as whoever reads.
  perform set_config('role', storage.role_of(context), true);
  return next;
end $$;

revoke execute on function
  storage.put_back(storage.objects),
  storage.judge_as(storage.objects),
  storage.may_have(storage.objects, text, text),
  storage.judged(storage.objects, boolean),
  storage.read_version_row(text, text, text, text, timestamptz, text, text),
  storage.read_marker(text, text, text, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.put_back(storage.objects),
  storage.judge_as(storage.objects),
  storage.may_have(storage.objects, text, text),
  storage.judged(storage.objects, boolean),
  storage.read_version_row(text, text, text, text, timestamptz, text, text),
  storage.read_marker(text, text, text, text)
to service_role, strongroom_server;
