-- What was there, for those who may see it (decision 0070): reads and lists of versions. A name that has an object shows its
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

-- What names have now and had before, a name's newest first, whoever may see it, behind a name, or, of that, behind what has a
-- sequence or a number. With `is_folded`, names that have the delimiter behind the prefix are there once. The sequence of an
-- object is null.
create or replace function storage.walk_history(
  bucket text, prefix text, delimiter text, is_folded boolean, after_name text, after_number integer, after_sequence bigint,
  max_rows integer, noncurrent text, markers text, exact boolean
) returns table (
  object storage.objects, sequence bigint, folder text, is_marker boolean, is_newest boolean, until timestamptz
)
language plpgsql as $$
declare
  place text := coalesce(after_name, '');
  is_within constant boolean := after_number is not null or after_sequence is not null;
  is_first boolean := after_name is null or after_number is not null or after_sequence is not null;
  prefix_end constant text := storage.prefix_end(prefix);
  candidate text;
  item record;
  wanted integer := max_rows;
  has_object boolean;
  is_there boolean;
  is_rest boolean;
begin
  if exact then
    place := prefix;
    is_first := true;
  elsif place collate "C" < prefix then
    place := prefix;
    is_first := true;
  elsif delimiter <> '' and not is_within and starts_with(place, prefix) then
    folder := storage.folder_in(place, prefix, delimiter);
    if folder is not null then
      place := storage.prefix_end(folder);
      is_first := true;
    end if;
  end if;
  while wanted > 0 loop
    -- Each by one seek of its index.
    if is_first then
      select least(
        (select o.name collate "C" from storage.objects o
          where o.bucket_id = bucket and o.name collate "C" >= place order by o.name collate "C" limit 1),
        (select v.name from storage.object_versions v
          where v.bucket_id = bucket and v.name >= place order by v.name limit 1)) into candidate;
    else
      select least(
        (select o.name collate "C" from storage.objects o
          where o.bucket_id = bucket and o.name collate "C" > place order by o.name collate "C" limit 1),
        (select v.name from storage.object_versions v
          where v.bucket_id = bucket and v.name > place order by v.name limit 1)) into candidate;
    end if;
    exit when candidate is null or candidate collate "C" >= prefix_end or (exact and candidate <> prefix);
    folder := storage.folder_in(candidate, prefix, delimiter);
    is_there := false;
    has_object := exists (select from storage.objects o where o.bucket_id = bucket and o.name = candidate);
    is_rest := is_within and candidate = after_name;
    for item in
      select r.* from (
        select null::bigint as sequence, o as object, false as is_marker, true as is_newest, null::timestamptz as until
        from storage.objects o
        where o.bucket_id = bucket and o.name = candidate
          and (not is_rest or (after_sequence is null and coalesce(o.version_number, 1) < after_number))
        union all
        (
          select v.sequence, storage.as_object(v), v.is_delete_marker,
            not has_object and v.sequence = (
              select max(n.sequence) from storage.object_versions n
              where n.bucket_id = bucket and n.name = candidate and n.kind <> 'trash'),
            v.archived_at
          from storage.object_versions v
          where v.bucket_id = bucket and v.name = candidate and v.kind <> 'trash'
            and (not is_rest or ((after_sequence is null or v.sequence < after_sequence)
              and (after_number is null or v.version_number < after_number)))
          order by v.sequence desc
          limit case when noncurrent = 'include' and markers = 'include' then wanted end
        )
      ) r
      order by r.sequence desc nulls first
    loop
      continue when (noncurrent = 'exclude' and not item.is_newest) or (noncurrent = 'only' and item.is_newest)
        or (markers = 'exclude' and item.is_marker) or (markers = 'only' and not item.is_marker);
      is_there := true;
      object := item.object;
      sequence := item.sequence;
      is_marker := item.is_marker;
      is_newest := item.is_newest;
      until := item.until;
      return next;
      wanted := wanted - 1;
      exit when wanted = 0 or (is_folded and folder is not null);
    end loop;
    exit when exact;
    is_first := is_folded and folder is not null and is_there;
    place := case when is_first then storage.prefix_end(folder) else candidate end;
  end loop;
end $$;

-- Lists what names have now and had before, a name's newest first, as far as the caller sees them, behind a row of the page
-- before: `after_version` is that row's, or null for all of that name; with a dot and its number behind it the row may be gone by
-- now. `noncurrent` and `markers` are 'exclude', 'include' or 'only'. With `exact` the prefix is the whole name; with a delimiter
-- names that have it behind the prefix are shown once, up to its end.
--
-- Of what is there no more the policies are asked for many rows at once, if they can be (`condition_of`), or else for each.
create or replace function storage.list_versions_as(
  bucket text, prefix text, delimiter text, after_name text, after_version text, max_rows integer,
  noncurrent text, markers text, exact boolean, context text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz,
  metadata jsonb, version text, version_number integer, is_versioned boolean, is_delete_marker boolean, is_latest boolean,
  since timestamptz, archived_at timestamptz, owner_id text, checksum text, comment text,
  auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql as $$
declare
  is_service constant boolean := storage.role_of(context) = 'service_role';
  -- Of a folder one row that is seen will do.
  first_size constant integer := least(
    max_rows, case when delimiter = '' or is_service then 1001 else 20 end);
  size integer := first_size;
  condition text;
  wanted integer := max_rows;
  after_number integer;
  after_sequence bigint;
  objects storage.objects[];
  sequences bigint[];
  folders text[];
  are_markers boolean[];
  are_newest boolean[];
  untils timestamptz[];
  judged storage.objects[];
  answers boolean[];
  item storage.objects;
  asked storage.objects;
  is_seen boolean;
  shown_folder text;
  is_any_shown boolean;
begin
  perform set_config('role', 'service_role', true);
  if not is_service then
    condition := storage.condition_of(storage.role_of(context), 'r');
  end if;
  if after_version is not null then
    select p.number, p.sequence into after_number, after_sequence
    from storage.place_in_history(bucket, after_name, after_version) p;
  end if;
  while wanted > 0 loop
    select array_agg(w.object), array_agg(w.sequence), array_agg(w.folder), array_agg(w.is_marker), array_agg(w.is_newest), array_agg(w.until),
      array_agg(case when not is_service then storage.judged(w.object, w.is_marker) end)
    into objects, sequences, folders, are_markers, are_newest, untils, judged
    from storage.walk_history(
      bucket, prefix, delimiter, is_service, after_name, after_number, after_sequence, size, noncurrent, markers, exact) w;
    exit when objects is null;
    if not is_service then
      answers := storage.hold_at_once(judged, false, condition, context);
      if answers is null then
        condition := null;
      end if;
    end if;
    is_any_shown := false;
    for n in 1 .. cardinality(objects) loop
      continue when folders[n] = shown_folder;
      if is_service then
        is_seen := true;
      elsif answers is not null then
        is_seen := answers[n];
      elsif asked is distinct from judged[n] then
        -- What a marker hides is asked about only once.
        asked := judged[n];
        is_seen := storage.may_have(asked, 'see', context);
        perform set_config('role', 'service_role', true);
      end if;
      continue when not is_seen;
      is_any_shown := true;
      item := objects[n];
      shown_folder := folders[n];
      if shown_folder is not null then
        name := shown_folder; is_folder := true; id := null; updated_at := null; created_at := null; last_accessed_at := null;
        metadata := null; version := null; version_number := null; is_versioned := null; is_delete_marker := null;
        is_latest := null; since := null; archived_at := null; owner_id := null; checksum := null;
        comment := null; auto_delete_after_days := null; auto_delete_at := null;
      else
        name := item.name; is_folder := false; id := item.id; updated_at := item.updated_at;
        created_at := item.created_at; last_accessed_at := item.last_accessed_at;
        metadata := storage.without_parts(item.metadata); version := item.version;
        version_number := coalesce(item.version_number, 1);
        is_versioned := coalesce(item.is_versioned, false); is_delete_marker := are_markers[n];
        is_latest := are_newest[n]; since := item.current_since;
        archived_at := case when not (are_markers[n] and are_newest[n]) then untils[n] end;
        owner_id := item.owner_id; checksum := item.checksum;
        comment := item.version_comment;
        auto_delete_after_days := case when sequences[n] is null then item.auto_delete_after_days end;
        auto_delete_at := case when sequences[n] is null then item.auto_delete_at end;
      end if;
      return next;
      wanted := wanted - 1;
      exit when wanted = 0;
    end loop;
    exit when wanted = 0 or cardinality(objects) < size;
    after_number := null;
    if folders[cardinality(folders)] = shown_folder then
      after_name := shown_folder;
      after_sequence := null;
    else
      after_name := (objects[cardinality(objects)]).name;
      after_sequence := coalesce(sequences[cardinality(objects)], 9223372036854775807); -- behind the object
    end if;
    size := case when is_any_shown then first_size else least(size * 4, 1001) end;
  end loop;
  perform set_config('role', storage.role_of(context), true);
end $$;

-- What a list with a delimiter shows of a name in place of it; null: the name itself.
create or replace function storage.folder_in(name text, prefix text, delimiter text) returns text language sql immutable as $$
  select left(name, length(prefix) + f.finish + length(delimiter) - 1)
  from (select case when delimiter <> '' then position(delimiter in substr(name, length(prefix) + 1)) else 0 end) f (finish)
  where f.finish > 0
$$;

-- Where a version stands, as `list_versions_as` takes it: only what has a lower sequence comes behind it; if it is not there any
-- more, or is the object, what has a lower number. Of one that nobody knows nothing does.
create or replace function storage.place_in_history(bucket text, object text, wanted text) returns table (
  number integer, sequence bigint
) language plpgsql stable as $$
declare
  named constant text := regexp_replace(wanted, '[.]\d{1,9}$', '');
begin
  select v.sequence into sequence from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind <> 'trash'
    and case when named = 'null' then not v.is_versioned else v.version = named end
  order by v.sequence desc limit 1;
  if not found then
    select coalesce(o.version_number, 1) into number from storage.objects o
    where o.bucket_id = bucket and o.name = object
      and case when named = 'null' then o.is_versioned is not true else o.version = named end;
    if not found then
      number := coalesce(substring(wanted from '[.](\d{1,9})$')::integer, 0);
    end if;
  end if;
  return next;
end $$;

revoke execute on function
  storage.put_back(storage.objects),
  storage.judge_as(storage.objects),
  storage.may_have(storage.objects, text, text),
  storage.judged(storage.objects, boolean),
  storage.read_version_row(text, text, text, text, timestamptz, text, text),
  storage.read_marker(text, text, text, text),
  storage.place_in_history(text, text, text),
  storage.walk_history(text, text, text, boolean, text, integer, bigint, integer, text, text, boolean),
  storage.list_versions_as(text, text, text, text, text, integer, text, text, boolean, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.put_back(storage.objects),
  storage.judge_as(storage.objects),
  storage.may_have(storage.objects, text, text),
  storage.judged(storage.objects, boolean),
  storage.read_version_row(text, text, text, text, timestamptz, text, text),
  storage.read_marker(text, text, text, text),
  storage.place_in_history(text, text, text),
  storage.walk_history(text, text, text, boolean, text, integer, bigint, integer, text, text, boolean),
  storage.list_versions_as(text, text, text, text, text, integer, text, text, boolean, text)
to service_role, strongroom_server;
