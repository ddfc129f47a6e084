-- An index for each order of the lists (decision 0024), so that a page by time costs what it shows, too. With the name,
-- which breaks ties, and by which a prefix is compared without a look at the row.
create index if not exists objects_bucket_id_created_at
  on storage.objects (bucket_id, created_at, name collate "C");
--> statement-breakpoint
create index if not exists objects_bucket_id_updated_at
  on storage.objects (bucket_id, updated_at, name collate "C");
--> statement-breakpoint
create index if not exists objects_bucket_id_last_accessed_at
  on storage.objects (bucket_id, last_accessed_at, name collate "C");
--> statement-breakpoint
-- Files in order of time, off the index. Fixed columns and directions, and no choice for the planner: as `level` (0006).
--
--   files_by_…    of one level, as folded_level has them; null comes last, or with desc first
--   page_by_…     that begin with a prefix, after an entry. A row without a time, or with one that is no date to a
--                 client, counts as older than all: `after_time` is null when the page before ended at such a row
do $do$
declare
  variant record;
begin
  for variant in
    select c.name as moment, d.* from
      (values ('created_at'), ('updated_at'), ('last_accessed_at')) as c (name),
      (values ('', 'asc', '>'), ('_desc', 'desc', '<')) as d (suffix, direction, beyond)
  loop
    execute format($f$
      create function storage.%1$I(
        bucket text, prefix text, level_start integer, skip integer, max_rows integer
      ) returns table (
        name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
      ) language plpgsql stable set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off as $body$
      begin
        return query
          select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
          from storage.objects o
          where o.bucket_id = bucket
            and o.folded_name >= prefix and o.folded_name < storage.prefix_end(prefix)
            and position('/' in substr(o.name, level_start)) = 0
          order by o.%2$I %3$s, o.name collate "C" %3$s
          offset skip limit max_rows;
      end $body$
    $f$, 'files_by_' || variant.moment || variant.suffix, variant.moment, variant.direction);
    execute format($f$
      create function storage.%1$I(
        bucket text, prefix text, after text, after_time timestamptz, max_rows integer
      ) returns table (
        name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
      ) language plpgsql stable set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off as $body$
      declare
        earliest constant timestamptz := '1000-01-01 00:00:00Z';
        latest constant timestamptz := '9999-12-31 23:59:59.999999Z';
        is_desc constant boolean := %3$L = 'desc';
        above_all constant text := storage.prefix_end('');
        prefix_end constant text := storage.prefix_end(prefix);
        wanted integer := max_rows;
        shown integer;
        step integer;
      begin
        if after_time not between earliest and latest then
          after_time := null;
        end if;
        for step in 1..2 loop
          if (step = 1) = is_desc then
            -- Those with a time, unless the page before has ended behind them.
            continue when is_desc and after is not null and after_time is null;
            return query
              select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
              from storage.objects o
              where o.bucket_id = bucket and o.%2$I between earliest and latest
                and (o.%2$I, o.name collate "C") %4$s (
                  coalesce(after_time, case when is_desc then latest else earliest end),
                  case when after_time is not null then after when is_desc then above_all else '' end collate "C")
                and o.name collate "C" >= prefix and o.name collate "C" < prefix_end
              order by o.%2$I %3$s, o.name collate "C" %3$s
              limit wanted;
          else
            -- Those without, unless it has ended behind these.
            continue when not is_desc and after_time is not null;
            return query
              select f.* from (
                select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
                from storage.objects o where o.bucket_id = bucket and o.%2$I is null
                union all
                select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
                from storage.objects o where o.bucket_id = bucket and o.%2$I < earliest
                union all
                select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata
                from storage.objects o where o.bucket_id = bucket and o.%2$I > latest
              ) f
              where f.name collate "C" >= prefix and f.name collate "C" < prefix_end
                and (after is null or after_time is not null or f.name collate "C" %4$s after collate "C")
              order by f.name collate "C" %3$s
              limit wanted;
          end if;
          get diagnostics shown = row_count;
          wanted := wanted - shown;
          exit when wanted <= 0;
        end loop;
      end $body$
    $f$, 'page_by_' || variant.moment || variant.suffix, variant.moment, variant.direction, variant.beyond);
  end loop;
end $do$;
--> statement-breakpoint
-- The folders of a level, as folded_level has them, past its files: these are seen in the index alone, as far as the
-- policies need nothing else of them. Lower case has a character for each of the name's.
create function storage.folded_folders(bucket text, prefix text, level_start integer, max_rows integer)
returns setof text language plpgsql stable
set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off as $$
declare
  place text := prefix;
  place_end constant text := storage.prefix_end(prefix);
  inside text;
  folder text;
begin
  for row in 1..max_rows loop
    select o.folded_name into inside
    from storage.objects o
    where o.bucket_id = bucket and o.folded_name >= place and o.folded_name < place_end
      and position('/' in substr(o.folded_name, level_start)) > 0
    order by o.folded_name
    limit 1;
    exit when not found;
    select left(o.name, level_start - 1 + position('/' in substr(o.name, level_start))) into folder
    from storage.objects o
    where o.bucket_id = bucket and o.folded_name = inside
    limit 1;
    exit when not found;
    return next folder;
    place := lower(left(folder, -1) collate "default") || '0';
  end loop;
end $$;
--> statement-breakpoint
-- As before (0006), but by another column than the name only a level of at most 5000 entries is sorted.
create or replace function storage.list_folder(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql stable as $$
declare
  most_sorted constant integer := 5000;
  wanted text := folder || search;
  prefix text := lower(wanted collate "default");
  -- A search may hold slashes and so go down; the level begins after the last of them.
  level_start integer := length(wanted) - length(split_part(wanted, '/', -1)) + 1;
  shown_from integer := length(folder) + 1;
  passed integer := 0;
  item text;
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
  elsif (
    select count(*) from storage.folded_level(bucket, prefix, level_start, prefix, most_sorted + 1)
  ) <= most_sorted then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level(bucket, prefix, level_start, prefix, most_sorted + 1) l,
        lateral (select case sort_column
          when 'updated_at' then l.updated_at when 'created_at' then l.created_at else l.last_accessed_at end
        ) as sort (moment)
      order by not l.is_folder,
        case when l.is_folder then lower(l.name collate "default") collate "C" end,
        case when sort_order = 'desc' then sort.moment end desc,
        case when sort_order = 'desc' then l.name collate "C" end desc,
        sort.moment, l.name collate "C"
      offset skip limit max_rows;
  else
    for item in select f from storage.folded_folders(bucket, prefix, level_start, skip + max_rows) f loop
      passed := passed + 1;
      if passed > skip then
        name := substr(left(item, -1), shown_from);
        return next;
      end if;
    end loop;
    return query execute format(
      'select substr(f.name, $1), f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata
       from storage.%I($2, $3, $4, $5, $6) f',
      'files_by_' || sort_column || case when sort_order = 'desc' then '_desc' else '' end
    ) using shown_from, bucket, prefix, level_start, greatest(skip - passed, 0),
      max_rows - greatest(passed - skip, 0);
  end if;
end $$;
--> statement-breakpoint
-- As before (0006), but times count whole, and only with folders, or with at most 5000 names, is anything sorted.
create or replace function storage.list_page(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb
) language plpgsql stable as $$
declare
  most_sorted constant integer := 5000;
  level_start integer := case when delimited then length(prefix) + 1 else 1000000 end;
  earliest constant timestamptz := '1000-01-01 00:00:00Z';
  latest constant timestamptz := '9999-12-31 23:59:59.999999Z';
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
  elsif not delimited and (prefix = '' or most_sorted < (
    select count(*) from (
      select from storage.objects o
      where o.bucket_id = bucket and o.name collate "C" >= prefix and o.name collate "C" < storage.prefix_end(prefix)
      limit most_sorted + 1
    ) names
  )) then
    return query execute format(
      'select f.name, false, f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata
       from storage.%I($1, $2, $3, $4, $5) f',
      'page_by_' || case sort_column when 'updated_at' then 'updated_at' else 'created_at' end
        || case when sort_order = 'desc' then '_desc' else '' end
    ) using bucket, prefix, after, after_time, max_rows;
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
        lateral (select case when e.moment between earliest and latest then e.moment else '-infinity' end
        ) as sort (moment),
        lateral (select case when after_time between earliest and latest then after_time else '-infinity' end
        ) as place (moment)
      where after is null
        or (sort_order <> 'desc' and (sort.moment, e.name collate "C") > (place.moment, after collate "C"))
        or (sort_order = 'desc' and (sort.moment, e.name collate "C") < (place.moment, after collate "C"))
      order by
        case when sort_order = 'desc' then sort.moment end desc,
        case when sort_order = 'desc' then e.name collate "C" end desc,
        sort.moment, e.name collate "C"
      limit max_rows;
  end if;
end $$;
