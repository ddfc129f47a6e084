-- What names have now and had before, or had at a moment, in lists: as far as the caller sees it (decision 0070), and no more of a
-- bucket at once than a page may look at.

-- What a list with a delimiter shows of a name in place of it; null: the name itself.
create or replace function storage.folder_in(name text, prefix text, delimiter text) returns text language sql immutable as $$
  select left(name, length(prefix) + f.finish + length(delimiter) - 1)
  from (select case when delimiter <> '' then position(delimiter in substr(name, length(prefix) + 1)) else 0 end) f (finish)
  where f.finish > 0
$$;

-- Where a version stands, as `list_history_as` takes it: only what has a lower sequence comes behind it; if it is not there any
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

-- What names have now and had before, a name's newest first, or, with a moment, what they had then; whoever may see it, behind a
-- name, or, of that, behind what has a sequence or a number. With `is_folded`, names that have the delimiter behind the prefix
-- are there once. The sequence of an object is null. It looks at no more than so many: `looked` counts them, and where they were not
-- enough a row with `is_end` says up to where it has come.
create or replace function storage.walk_history(
  bucket text, prefix text, delimiter text, is_folded boolean, after_name text, after_number integer, after_sequence bigint,
  max_rows integer, most_looks integer, noncurrent text, markers text, exact boolean, moment timestamptz
) returns table (
  object storage.objects, sequence bigint, folder text, is_marker boolean, is_newest boolean, until timestamptz,
  is_end boolean, looked integer
)
language plpgsql as $$
declare
  place text := coalesce(after_name, '');
  is_within constant boolean := after_number is not null or after_sequence is not null;
  is_first boolean := after_name is null or (is_within and moment is null);
  prefix_end constant text := storage.prefix_end(prefix);
  candidate text;
  was record;
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
      place := storage.prefix_end(folder); -- the rest of that folder was on the page before
      is_first := true;
    end if;
  end if;
  is_end := false;
  looked := 0;
  while wanted > 0 loop
    candidate := storage.name_behind(bucket, place, is_first);
    exit when candidate is null or candidate collate "C" >= prefix_end or (exact and candidate <> prefix);
    folder := storage.folder_in(candidate, prefix, delimiter);
    is_there := false;
    if moment is not null then
      looked := looked + 1;
      was := storage.object_at(bucket, candidate, moment, null);
      object := was.item;
      object.name := candidate;
      sequence := was.sequence;
      if was.kind is not null then
        is_there := true;
        is_marker := false;
        is_newest := was.kind = 'object';
        until := was.until;
        return next;
        wanted := wanted - 1;
      end if;
    else
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
            limit case
              when noncurrent = 'exclude' then case when has_object then 0 else 1 end
              when noncurrent = 'include' and markers = 'include' then least(wanted, most_looks - looked)
              else most_looks - looked
            end
          )
        ) r
        order by r.sequence desc nulls first
      loop
        looked := looked + 1;
        object := item.object;
        sequence := item.sequence;
        is_marker := item.is_marker;
        is_newest := item.is_newest;
        until := item.until;
        continue when (noncurrent = 'exclude' and not item.is_newest) or (noncurrent = 'only' and item.is_newest)
          or (markers = 'exclude' and item.is_marker) or (markers = 'only' and not item.is_marker);
        is_there := true;
        return next;
        wanted := wanted - 1;
        exit when wanted = 0 or (is_folded and folder is not null);
      end loop;
    end if;
    if looked >= most_looks and wanted > 0 then
      is_end := true;
      return next;
      return;
    end if;
    exit when exact;
    is_first := is_folded and folder is not null and is_there;
    place := case when is_first then storage.prefix_end(folder) else candidate end;
  end loop;
end $$;

-- Lists what names have now and had before, a name's newest first, or, with a moment, what they had then (nothing that is lost), as far
-- as the caller sees it, behind a row of the page before: `after_version` is that row's, or null for all of that name; with a dot
-- and its number behind it the row may be gone by now. `noncurrent` and `markers` are 'exclude', 'include' or 'only'. With `exact`
-- the prefix is the whole name; with a delimiter names that have it behind the prefix are shown once, up to its end.
--
-- The policies are asked for many rows at once, if they can be (`condition_of`), or else for each.
--
-- It looks at no more than so many rows (null: at all): where it ends before there are `max_rows`, a last row only says up to where it
-- has come (`is_seen` false), which may be at what the caller does not see.
create or replace function storage.list_history_as(
  bucket text, prefix text, delimiter text, after_name text, after_version text, max_rows integer, most_looks integer,
  noncurrent text, markers text, exact boolean, moment timestamptz, context text
) returns table (
  is_seen boolean,
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
  looks integer := coalesce(most_looks, 2147483647);
  wanted integer := max_rows;
  condition text;
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
  has_ended boolean; -- the last one of these only says up to where the walk has come
  looked integer;
  last integer; -- of these, the one up to which the page has come
  item storage.objects;
  asked storage.objects;
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
    select array_agg(w.object), array_agg(w.sequence), array_agg(w.folder), array_agg(w.is_marker), array_agg(w.is_newest),
      array_agg(w.until),
      array_agg(case when not is_service then storage.judged(w.object, w.is_marker) end) filter (where not w.is_end),
      bool_or(w.is_end), max(w.looked)
    into objects, sequences, folders, are_markers, are_newest, untils, judged, has_ended, looked
    from storage.walk_history(
      bucket, prefix, delimiter, is_service, after_name, after_number, after_sequence, size, looks, noncurrent, markers, exact, moment
    ) w;
    exit when objects is null;
    looks := looks - looked;
    last := cardinality(objects);
    answers := null;
    if not is_service and judged is not null then
      answers := storage.hold_at_once(judged, false, condition, context);
      if answers is null then
        condition := null;
      end if;
    end if;
    is_any_shown := false;
    for n in 1 .. last - has_ended::integer loop
      continue when folders[n] = shown_folder;
      if is_service then
        is_seen := true;
      elsif answers is not null then
        is_seen := answers[n];
      elsif asked is distinct from judged[n] then
        -- What a marker hides is asked about only once.
        asked := judged[n];
        looks := looks - 4; -- which takes longer
        is_seen := storage.may_have(asked, 'see', context);
        perform set_config('role', 'service_role', true);
      end if;
      if is_seen then
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
          is_latest := are_newest[n]; since := storage.since_of(item);
          archived_at := case when not (are_markers[n] and are_newest[n]) then untils[n] end;
          owner_id := item.owner_id; checksum := item.checksum;
          comment := item.version_comment;
          auto_delete_after_days := case when sequences[n] is null then item.auto_delete_after_days end;
          auto_delete_at := case when sequences[n] is null then item.auto_delete_at end;
        end if;
        return next;
        wanted := wanted - 1;
      end if;
      if wanted = 0 or (answers is null and looks <= 0) then
        last := n;
        exit;
      end if;
    end loop;
    exit when wanted = 0;
    item := objects[last];
    is_folder := coalesce(folders[last] = shown_folder, false);
    after_number := null;
    after_name := case when is_folder then shown_folder else item.name end;
    -- Behind the object, if it is that, but before the end of its folder.
    after_sequence := case when not is_folder then coalesce(sequences[last], 9223372036854775807) end;
    if looks <= 0 then
      is_seen := false; name := after_name; id := null; updated_at := null; created_at := null; last_accessed_at := null;
      metadata := null; version := case when not is_folder then item.version end;
      version_number := case when not is_folder then item.version_number end; is_versioned := null; is_delete_marker := null;
      is_latest := null; since := null; archived_at := null; owner_id := null; checksum := null; comment := null;
      auto_delete_after_days := null; auto_delete_at := null;
      return next;
      exit;
    end if;
    exit when last < size;
    size := case when is_any_shown then first_size else least(size * 4, 1001) end;
  end loop;
  perform set_config('role', storage.role_of(context), true);
end $$;

-- In place of what servers have called before.
drop function if exists
  storage.walk_history(text, text, text, boolean, text, integer, bigint, integer, text, text, boolean),
  storage.walk_at(text, text, text, boolean, timestamptz, text, boolean, integer);

revoke execute on function
  storage.place_in_history(text, text, text),
  storage.walk_history(text, text, text, boolean, text, integer, bigint, integer, integer, text, text, boolean, timestamptz),
  storage.list_history_as(text, text, text, text, text, integer, integer, text, text, boolean, timestamptz, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.place_in_history(text, text, text),
  storage.walk_history(text, text, text, boolean, text, integer, bigint, integer, integer, text, text, boolean, timestamptz),
  storage.list_history_as(text, text, text, text, text, integer, integer, text, text, boolean, timestamptz, text)
to service_role, strongroom_server;
