-- Listing by skip-scan: files come off the index in order; a folder, however full, costs one seek. So a page
-- costs what it shows, not what the bucket holds. All of it runs as the caller, under RLS.

-- The smallest text above every name that begins with `prefix`. In the C collation of UTF-8, byte order is
-- code-point order.
create function storage.prefix_end(prefix text) returns text language plpgsql immutable strict as $$
declare
  last integer;
begin
  while prefix <> '' loop
    last := ascii(right(prefix, 1));
    if last < 1114111 then
      -- No character has a surrogate's number.
      return left(prefix, -1) || chr(case last when 55295 then 57344 else last + 1 end);
    end if;
    prefix := left(prefix, -1);
  end loop;
  -- Above every name of at most 1024 bytes.
  return repeat(chr(1114111), 300);
end $$;
--> statement-breakpoint
-- One level below `prefix`, in order of name: files as they are, folders once, as their name with the slash.
-- `level_start` is the position, from 1, where the level's part of a name begins; past the end of all names
-- there are no folders, and the level is everything. Four functions from one text, since a plan is kept for
-- fixed columns and a fixed direction only:
--
--   level, level_desc                 case counts         `place` is where to begin: the first name, inclusive,
--   folded_level, folded_level_desc   case is ignored     or for desc the last, exclusive
--
-- The folded ones take `prefix` and `place` in lower case. The planner is left no choice: to sort a bucket in
-- order to show a page is never right.
do $do$
declare
  variant record;
begin
  for variant in
    select * from (values
      ('level', 'o.name collate "C"', '%s', '>= place and %s < storage.prefix_end(prefix)', 'asc', '0'),
      ('level_desc', 'o.name collate "C"', '%s', '< place and %s >= prefix', 'desc', '/'),
      ('folded_level', 'o.folded_name', 'lower((%s) collate "default")',
        '>= place and %s < storage.prefix_end(prefix)', 'asc', '0'),
      ('folded_level_desc', 'o.folded_name', 'lower((%s) collate "default")',
        '< place and %s >= prefix', 'desc', '/')
    ) as v (name, key, fold, range, direction, past_folder)
  loop
    execute format($f$
      create function storage.%1$I(bucket text, prefix text, level_start integer, place text, max_rows integer)
      returns table (
        name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
        last_accessed_at timestamptz, metadata jsonb
      ) language plpgsql stable set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off as $body$
      declare
        item record;
        wanted integer := max_rows;
        slash integer;
        folder text;
      begin
        while wanted > 0 loop
          folder := null;
          for item in
            select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
            from storage.objects o
            where o.bucket_id = bucket and %2$s %3$s
            order by %2$s %4$s
          loop
            slash := position('/' in substr(item.name, level_start));
            if slash > 0 then
              folder := left(item.name, level_start - 1 + slash);
              exit;
            end if;
            name := item.name; is_folder := false; id := item.id; updated_at := item.updated_at;
            created_at := item.created_at; last_accessed_at := item.last_accessed_at; metadata := item.metadata;
            return next;
            wanted := wanted - 1;
            exit when wanted = 0;
          end loop;
          exit when folder is null;
          name := folder; is_folder := true; id := null; updated_at := null;
          created_at := null; last_accessed_at := null; metadata := null;
          return next;
          wanted := wanted - 1;
          -- '0' is the character after '/': the first name that cannot be in the folder.
          place := %5$s || %6$L;
        end loop;
      end $body$
    $f$, variant.name, variant.key, format(variant.range, variant.key), variant.direction,
      format(variant.fold, 'left(folder, -1)'), variant.past_folder);
  end loop;
end $do$;
--> statement-breakpoint
-- List v1 (contract §3.12): one folder's level, case ignored, names relative to it. `folder` is '' or ends with
-- a slash. By another column than the name, the whole level has to be sorted: folders first, then files.
create function storage.list_folder(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql stable as $$
declare
  wanted text := folder || search;
  prefix text := lower(wanted collate "default");
  -- A search may hold slashes and so go down; the level begins after the last of them.
  level_start integer := length(wanted) - length(split_part(wanted, '/', -1)) + 1;
  shown_from integer := length(folder) + 1;
begin
  if sort_column = 'name' and sort_order = 'desc' then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level_desc(bucket, prefix, level_start, storage.prefix_end(prefix), skip + max_rows) l
      offset skip;
  elsif sort_column = 'name' then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level(bucket, prefix, level_start, prefix, skip + max_rows) l
      offset skip;
  else
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level(bucket, prefix, level_start, prefix, 2147483647) l,
        lateral (select case sort_column
          when 'updated_at' then l.updated_at when 'created_at' then l.created_at else l.last_accessed_at end
        ) as sort (moment)
      order by not l.is_folder, case when sort_order = 'desc' then sort.moment end desc nulls last,
        sort.moment, lower(l.name collate "default") collate "C", l.name collate "C"
      offset skip limit max_rows;
  end if;
end $$;
--> statement-breakpoint
-- List v2 (contract §3.13): names that begin with `prefix`, case counting, after the entry `after`; with
-- `delimited`, folders are shown once, as their name with the slash. Times count in whole milliseconds;
-- a row that plain SQL left without one, or with one that is no date to a client, counts as older than all.
create function storage.list_page(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb
) language plpgsql stable as $$
declare
  level_start integer := case when delimited then length(prefix) + 1 else 1000000 end;
  earliest constant timestamptz := '1000-01-01 00:00:00Z';
  latest constant timestamptz := '9999-12-31 23:59:59.999Z';
begin
  if sort_column = 'name' and sort_order = 'desc' then
    return query
      select * from storage.level_desc(
        bucket, prefix, level_start, least(after collate "C", storage.prefix_end(prefix)), max_rows);
  elsif sort_column = 'name' then
    return query
      select * from storage.level(bucket, prefix, level_start, case
          when after is null or after collate "C" < prefix then prefix
          when delimited and right(after, 1) = '/' and length(after) > length(prefix) then left(after, -1) || '0'
          -- No name comes between a text and that text with the smallest character behind it.
          else after || chr(1)
        end, max_rows);
  else
    return query
      with entries as (
        select o.name, false as is_folder, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
          case sort_column when 'updated_at' then o.updated_at else o.created_at end as moment
        from storage.objects o
        where o.bucket_id = bucket
          and o.name collate "C" >= prefix and o.name collate "C" < storage.prefix_end(prefix)
          and position('/' in substr(o.name, level_start)) = 0
        union all
        select f.name, true, null, min(f.created_at), min(f.created_at), null, null, min(f.created_at)
        from (
          select left(o.name, level_start - 1 + position('/' in substr(o.name, level_start))) as name, o.created_at
          from storage.objects o
          where o.bucket_id = bucket
            and o.name collate "C" >= prefix and o.name collate "C" < storage.prefix_end(prefix)
            and position('/' in substr(o.name, level_start)) > 0
        ) f
        group by f.name
      )
      select e.name, e.is_folder, e.id, e.updated_at, e.created_at, e.last_accessed_at, e.metadata
      from entries e,
        lateral (select case when e.moment between earliest and latest
          then date_trunc('milliseconds', e.moment) else earliest end
        ) as sort (moment)
      where after is null
        or (sort_order <> 'desc'
          and (sort.moment, e.name collate "C") > (coalesce(after_time, earliest), after collate "C"))
        or (sort_order = 'desc'
          and (sort.moment, e.name collate "C") < (coalesce(after_time, earliest), after collate "C"))
      order by
        case when sort_order = 'desc' then sort.moment end desc,
        case when sort_order = 'desc' then e.name collate "C" end desc,
        sort.moment, e.name collate "C"
      limit max_rows;
  end if;
end $$;
--> statement-breakpoint
-- The names that Supabase users' SQL calls (contract §7.4).
do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('storage.search(text,text,integer,integer,integer,text,text,text)', $d$
        create function storage.search(
          prefix text, bucketname text, limits integer default 100, levels integer default 1,
          offsets integer default 0, search text default '', sortcolumn text default 'name',
          sortorder text default 'asc'
        ) returns table (
          name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz,
          metadata jsonb
        ) language sql stable as $f$
          select * from storage.list_folder(bucketname,
            -- The prefix is a folder, though SQL may write it without its slash, as clients do.
            case when prefix = '' or right(prefix, 1) = '/' then prefix else prefix || '/' end,
            search, limits, offsets, sortcolumn, sortorder)
        $f$ $d$),
      ('storage.search_v2(text,text,integer,integer,text,text,text,text)', $d$
        create function storage.search_v2(
          prefix text, bucket_name text, limits integer default 100, levels integer default 1,
          start_after text default '', sort_order text default 'asc', sort_column text default 'name',
          sort_column_after text default ''
        ) returns table (
          key text, name text, id uuid, updated_at timestamptz, created_at timestamptz,
          last_accessed_at timestamptz, metadata jsonb
        ) language sql stable as $f$
          select split_part(rtrim(p.name, '/'), '/', -1), p.name, p.id, p.updated_at, p.created_at,
            p.last_accessed_at, p.metadata
          from storage.list_page(bucket_name, prefix, true, limits, nullif(start_after, ''),
            nullif(sort_column_after, '')::timestamptz, sort_column, sort_order) p
        $f$ $d$),
      ('storage.list_objects_with_delimiter(text,text,text,integer,text,text,text)', $d$
        create function storage.list_objects_with_delimiter(
          _bucket_id text, prefix_param text, delimiter_param text, max_keys integer default 100,
          start_after text default '', next_token text default '', sort_order text default 'asc'
        ) returns table (
          name text, id uuid, metadata jsonb, updated_at timestamptz, created_at timestamptz,
          last_accessed_at timestamptz
        ) language sql stable as $f$
          select p.name, p.id, p.metadata, p.updated_at, p.created_at, p.last_accessed_at
          from storage.list_page(_bucket_id, prefix_param, delimiter_param = '/', max_keys,
            nullif(coalesce(nullif(next_token, ''), start_after), ''), null, 'name', sort_order) p
        $f$ $d$)
    ) as f (signature, definition)
  loop
    if to_regprocedure(wanted.signature) is null then
      execute wanted.definition;
    end if;
  end loop;
end $$;
