-- List v1 with folders by their exact spelling (decision 0035): `Photos/` and `photos/` are two.

-- A folded letter, and all that lower case makes it of. More than that does no harm.
create or replace function storage.spelled_as(letter text) returns text language sql immutable as $$
  select letter || upper(letter collate "default") || initcap(letter collate "default")
    || upper(letter collate "C") collate "default"
    -- What is not the upper case of its own lower case (Unicode, UnicodeData.txt): Kelvin, Ångström and Ohm signs, ….
    || case letter
      when 'i' then U&'\0130' when 'k' then U&'\212A' when U&'\00E5' then U&'\212B' when U&'\03C9' then U&'\2126'
      when U&'\03B8' then U&'\03F4' when U&'\00DF' then U&'\1E9E' when U&'\01C6' then U&'\01C5'
      when U&'\01C9' then U&'\01C8' when U&'\01CC' then U&'\01CB' when U&'\01F3' then U&'\01F2' else ''
    end
$$;

-- The folder `depth` slashes deep that holds this name.
create or replace function storage.folder_at(name text, depth integer) returns text language sql immutable as $$
  select array_to_string((string_to_array(name, '/'))[1:depth], '/') || '/'
$$;

-- The spellings of a folder, which is given in one of them, that begin with `within` and have an object, in order. By a
-- few seeks each among the exact names, whatever the folder holds: from the least spelling there can be to the first name
-- at or above it; from a name that is none to the least spelling above that. Names that differ in case early and agree
-- late can make these many: then the folder is read.
--
-- With its owner's rights, for under policies a seek would pass over all that they hide, one by one. So it tells of what is
-- hidden, and answers nobody but a session that could see that anyway (decision 0025).
create or replace function storage.folder_spellings(bucket text, folder text, within text)
returns setof text language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
-- Or a table that nobody has analysed yet is sorted for each seek.
set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off as $$
declare
  most_fruitless constant integer := 32;
  folded constant text := lower(left(folder, -1) collate "default") || '/';
  size constant integer := length(folded);
  fixed constant integer := length(within);
  rest constant text := substr(folded, fixed + 1);
  lowest text;
  highest text;
  place text := within;
  found_name text;
  letter text;
  one text;
  agreed integer;
  fruitless integer := 0;
begin
  if not pg_has_role(session_user, 'service_role', 'member') then
    raise insufficient_privilege using message = 'permission denied for the spellings of folders';
  end if;
  if octet_length(rest) = size - fixed then
    lowest := within || upper(rest collate "C");
    highest := within || translate(rest, 'ik', U&'\0130\212A');
  else
    select within || string_agg(s.least, '' order by l.at), within || string_agg(s.greatest, '' order by l.at)
    into lowest, highest
    from unnest(string_to_array(rest, null)) with ordinality l (letter, at), lateral (
      select min(v collate "C") as least, max(v collate "C") as greatest
      from unnest(string_to_array(storage.spelled_as(l.letter), null)) v
    ) s;
  end if;
  -- Letter by letter only where each is one in lower case, too: with ICU, U+0130 is two, the second of them U+0307.
  if length(folder) = size and position(chr(775) in folded) = 0 then
    place := lowest;
    while fruitless < most_fruitless loop
      if place = folder then
        return next folder;
        found_name := folder;
      else
        select o.name into found_name from storage.objects o
        where o.bucket_id = bucket and o.name collate "C" >= place
        order by o.name collate "C" limit 1;
        if not found or left(found_name, fixed) <> within then
          return;
        end if;
        if lower(left(found_name, size) collate "default") = folded then
          return next left(found_name, size);
        else
          fruitless := fruitless + 1;
        end if;
      end if;
      if left(found_name, size) collate "C" >= highest then
        return;
      end if;
      -- As far as it is a spelling, and from there back to the last letter that has a greater one.
      agreed := fixed;
      while agreed < size loop
        letter := substr(found_name, agreed + 1, 1);
        one := substr(folded, agreed + 1, 1);
        exit when letter = '' or letter <> one and position(letter in storage.spelled_as(one)) = 0;
        agreed := agreed + 1;
      end loop;
      place := null;
      for at in reverse least(agreed + 1, size) .. fixed + 1 loop
        letter := substr(found_name, at, 1);
        continue when letter collate "C" >= substr(highest, at, 1);
        one := substr(folded, at, 1);
        if ascii(one) < 128 then -- has a capital, and another one above both
          letter := case
            when letter collate "C" < substr(lowest, at, 1) then substr(lowest, at, 1)
            when letter collate "C" < one then one
            else substr(highest, at, 1)
          end;
        else
          select min(v collate "C") into letter
          from unnest(string_to_array(storage.spelled_as(one), null)) v
          where v collate "C" > letter;
        end if;
        place := left(found_name, at - 1) || letter || substr(lowest, at + 1);
        exit;
      end loop;
      if place is null then
        return;
      end if;
    end loop;
  end if;
  return query
    select distinct f.spelling collate "C" from (
      select storage.folder_at(o.name, length(folder) - length(replace(folder, '/', ''))) as spelling
      from storage.objects o
      where o.bucket_id = bucket and o.folded_name >= folded and o.folded_name < left(folded, -1) || '0'
    ) f
    where left(f.spelling, fixed) = within and f.spelling collate "C" >= place
    order by 1;
end $$;

-- Those in which the caller sees something; that this is so of `folder` itself is known.
create or replace function storage.visible_spellings(bucket text, folder text, within text)
returns setof text language sql stable as $$
  select s from storage.folder_spellings(bucket, folder, within) s
  where s = folder or (
    -- In order, or else an index that begins with another column may be taken.
    select true from storage.objects o
    where o.bucket_id = bucket and o.name collate "C" >= s and o.name collate "C" < left(s, -1) || '0'
    order by o.name collate "C" limit 1
  )
$$;

-- One level below `prefix`, in lower case, as level_entries (lists.sql) has it with case. If `spelled`, a folder comes once for each
-- of its spellings; and of all that, only what begins with `within`. `level_start` counts in lower case, which may have
-- other lengths than the name. `place` is where to begin: inclusive, or for desc exclusive.
-- The last entry is followed by those that differ from it in case alone, so that all of these can be sorted: there may be
-- more than `max_rows`.
-- A sort that is forbidden and made all the same has a price, before PostgreSQL 18, for which each call would be compiled.
do $do$
declare
  variant record;
begin
  for variant in
    select * from (values
      ('', '>= place and o.folded_name < storage.prefix_end(prefix)', 'asc', '0'),
      ('_desc', '< place and o.folded_name >= prefix', 'desc', '/')
    ) as v (suffix, range, direction, past_folder)
  loop
    execute format($f$
      create or replace function storage.folded_entries%1$s(
        bucket text, prefix text, within text, spelled boolean, level_start integer, place text, max_rows integer
      ) returns table (
        folded text, name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
        last_accessed_at timestamptz, metadata jsonb,
        version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz
      ) language plpgsql stable
      set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off as $body$
      declare
        within_length constant integer := length(within);
        depth constant integer := length(prefix) - length(replace(prefix, '/', '')) + 1;
        item record;
        wanted integer := max_rows;
        folder text;
        spelling text;
      begin
        while wanted > 0 loop
          folder := null;
          for item in
            select o.folded_name, o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
              o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
            from storage.objects o
            where o.bucket_id = bucket and o.folded_name %2$s
            order by o.folded_name %3$s
          loop
            exit when wanted <= 0 and item.folded_name <> folded;
            if position('/' in substr(item.folded_name, level_start)) > 0 then
              folder := storage.folder_at(item.name, depth);
              exit;
            end if;
            continue when left(item.name, within_length) <> within;
            folded := item.folded_name; name := item.name; is_folder := false; id := item.id;
            updated_at := item.updated_at; created_at := item.created_at;
            last_accessed_at := item.last_accessed_at; metadata := item.metadata;
            version := item.version; is_versioned := item.is_versioned;
            auto_delete_after_days := item.auto_delete_after_days; auto_delete_at := item.auto_delete_at;
            return next;
            wanted := wanted - 1;
          end loop;
          exit when folder is null;
          folded := lower(left(folder, -1) collate "default") || '/';
          is_folder := true; id := null; updated_at := null;
          created_at := null; last_accessed_at := null; metadata := null;
          version := null; is_versioned := null; auto_delete_after_days := null; auto_delete_at := null;
          if spelled then
            for spelling in select s from storage.visible_spellings(bucket, folder, within) s loop
              name := spelling;
              return next;
              wanted := wanted - 1;
            end loop;
          else
            name := folder;
            return next;
            wanted := wanted - 1;
          end if;
          -- '0' is the character after '/': the first name that cannot be in the folder.
          place := left(folded, -1) || %4$L;
        end loop;
      end $body$
    $f$, variant.suffix, variant.range, variant.direction, variant.past_folder);
    -- Its folders alone, past its files: these are seen in the index alone, as far as the policies need nothing else of
    -- them.
    execute format($f$
      create or replace function storage.folded_folders%1$s(
        bucket text, prefix text, within text, spelled boolean, level_start integer, place text, max_rows integer
      ) returns setof text language plpgsql stable
      set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off as $body$
      declare
        depth constant integer := length(prefix) - length(replace(prefix, '/', '')) + 1;
        wanted integer := max_rows;
        inside text;
        folder text;
        spelling text;
      begin
        while wanted > 0 loop
          select o.folded_name into inside
          from storage.objects o
          where o.bucket_id = bucket and o.folded_name %2$s
            and position('/' in substr(o.folded_name, level_start)) > 0
          order by o.folded_name %3$s
          limit 1;
          exit when not found;
          select storage.folder_at(o.name, depth) into folder
          from storage.objects o
          where o.bucket_id = bucket and o.folded_name = inside
          limit 1;
          exit when not found;
          if spelled then
            for spelling in
              select s from storage.visible_spellings(bucket, folder, within) s order by s collate "C" %3$s
            loop
              return next spelling;
              wanted := wanted - 1;
              exit when wanted = 0;
            end loop;
          else
            return next folder;
            wanted := wanted - 1;
          end if;
          place := lower(left(folder, -1) collate "default") || %4$L;
        end loop;
      end $body$
    $f$, variant.suffix, variant.range, variant.direction, variant.past_folder);
  end loop;
end $do$;

-- Its files in order of time, off the index, that begin with `within`; null comes last, or with desc first.
do $do$
declare
  variant record;
begin
  for variant in
    select c.name as moment, d.* from
      (values ('created_at'), ('updated_at'), ('last_accessed_at')) as c (name),
      (values ('', 'asc'), ('_desc', 'desc')) as d (suffix, direction)
  loop
    execute format($f$
      create or replace function storage.%1$I(
        bucket text, prefix text, within text, level_start integer, skip integer, max_rows integer
      ) returns table (
        name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb,
        version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz
      ) language plpgsql stable
      set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off set jit = off as $body$
      begin
        return query
          select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
            o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
          from storage.objects o
          where o.bucket_id = bucket
            and o.folded_name >= prefix and o.folded_name < storage.prefix_end(prefix)
            and o.name collate "C" >= within and o.name collate "C" < storage.prefix_end(within)
            and position('/' in substr(o.folded_name, level_start)) = 0
          order by o.%2$I %3$s, o.name collate "C" %3$s
          offset skip limit max_rows;
      end $body$
    $f$, 'folder_files_by_' || variant.moment || variant.suffix, variant.moment, variant.direction);
  end loop;
end $do$;

-- List v1 (wire §3.12): one folder's level, names relative to it. `folder` is '' or ends with a slash. With `exact_folders`
-- its case counts, and that of the folders shown; of `search` never. Names that differ in case alone are in order of their
-- bytes. By another column than the name, folders come first, and only a level of at most 5000 entries is sorted.
create or replace function storage.folder_entries(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text,
  exact_folders boolean
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb,
  version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql stable as $$
declare
  most_sorted constant integer := 5000;
  prefix text := lower((folder || search) collate "default");
  within constant text := case when exact_folders then folder else '' end;
  -- A search may hold slashes and so go down; the level begins after the last of them.
  level_start integer := length(prefix) - length(split_part(prefix, '/', -1)) + 1;
  shown_from integer := length(folder) + 1;
  direction constant text := case when sort_order = 'desc' then '_desc' else '' end;
  passed integer := 0;
  item text;
begin
  if sort_column = 'name' and sort_order = 'desc' then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata,
        l.version, l.is_versioned, l.auto_delete_after_days, l.auto_delete_at
      from storage.folded_entries_desc(
        bucket, prefix, within, exact_folders, level_start, storage.prefix_end(prefix), skip + max_rows) l
      order by l.folded collate "C" desc, l.name collate "C" desc
      offset skip limit max_rows;
  elsif sort_column = 'name' then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata,
        l.version, l.is_versioned, l.auto_delete_after_days, l.auto_delete_at
      from storage.folded_entries(bucket, prefix, within, exact_folders, level_start, prefix, skip + max_rows) l
      order by l.folded collate "C", l.name collate "C"
      offset skip limit max_rows;
  elsif (
    -- The spellings of a folder count as one: to seek them twice is dear.
    select count(*) from storage.folded_entries(bucket, prefix, within, false, level_start, prefix, most_sorted + 1)
  ) <= most_sorted then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata,
        l.version, l.is_versioned, l.auto_delete_after_days, l.auto_delete_at
      from storage.folded_entries(bucket, prefix, within, exact_folders, level_start, prefix, 2147483647) l,
        lateral (select case sort_column
          when 'updated_at' then l.updated_at when 'created_at' then l.created_at else l.last_accessed_at end
        ) as sort (moment)
      order by not l.is_folder,
        case when l.is_folder and sort_order = 'desc' then l.folded collate "C" end desc,
        case when l.is_folder then l.folded collate "C" end,
        case when sort_order = 'desc' then sort.moment end desc,
        case when sort_order = 'desc' then l.name collate "C" end desc,
        sort.moment, l.name collate "C"
      offset skip limit max_rows;
  else
    for item in
      execute format('select f from storage.%I($1, $2, $3, $4, $5, $6, $7) f', 'folded_folders' || direction)
      using bucket, prefix, within, exact_folders, level_start,
        case when sort_order = 'desc' then storage.prefix_end(prefix) else prefix end, skip + max_rows
    loop
      passed := passed + 1;
      if passed > skip then
        name := substr(left(item, -1), shown_from);
        return next;
      end if;
    end loop;
    return query execute format(
      'select substr(f.name, $1), f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata,
         f.version, f.is_versioned, f.auto_delete_after_days, f.auto_delete_at
       from storage.%I($2, $3, $4, $5, $6, $7) f',
      'folder_files_by_' || sort_column || direction
    ) using shown_from, bucket, prefix, within, level_start, greatest(skip - passed, 0),
      max_rows - greatest(passed - skip, 0);
  end if;
end $$;

-- The same, as `storage.search` has it.
create or replace function storage.list_folder(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text,
  exact_folders boolean default false
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language sql stable as $$
  select l.name, l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
  from storage.folder_entries(bucket, folder, search, max_rows, skip, sort_column, sort_order, exact_folders) l
$$;

-- The same, as one call that becomes the caller first. `keeps_versions` is true of the bucket if it has, or has had, versions.
create or replace function storage.folder_entries_as(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text,
  exact_folders boolean, context text
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb,
  version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz, keeps_versions boolean
) language plpgsql as $$
declare
  kept boolean;
begin
  perform set_config('role', 'service_role', true);
  kept := storage.keeps_versions(bucket);
  perform storage.act_as(context);
  return query
    select l.*, kept
    from storage.folder_entries(bucket, folder, search, max_rows, skip, sort_column, sort_order, exact_folders) l;
end $$;

revoke execute on function
  storage.folder_entries_as(text, text, text, integer, integer, text, text, boolean, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.folder_entries_as(text, text, text, integer, integer, text, text, boolean, text)
to service_role, strongroom_server;
