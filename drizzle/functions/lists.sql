-- Listing by skip-scan: files come off the index in order; a folder, however full, costs one seek. So a page
-- costs what it shows, not what the bucket holds. All of it runs as the caller, under RLS.

-- The smallest text above every name that begins with `prefix`. In the C collation of UTF-8, byte order is
-- code-point order.
create or replace function storage.prefix_end(prefix text) returns text language plpgsql immutable strict as $$
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

-- One level below `prefix`, in order of name, case counting: files as they are, folders once, as their name with the slash.
-- `level_start` is the position, from 1, where the level's part of a name begins; past the end of all names there are no
-- folders, and the level is everything. `place` is where to begin: the first name, inclusive, or for desc the last,
-- exclusive. Two functions from one text, since a plan is kept for a fixed direction only.
--
-- The planner is left no choice: to sort a bucket in order to show a page is never right.
do $do$
declare
  variant record;
begin
  for variant in
    select * from (values
      ('', '>= place and o.name collate "C" < storage.prefix_end(prefix)', 'asc', '0'),
      ('_desc', '< place and o.name collate "C" >= prefix', 'desc', '/')
    ) as v (suffix, range, direction, past_folder)
  loop
    execute format($f$
      create or replace function storage.level_entries%1$s(
        bucket text, prefix text, level_start integer, place text, max_rows integer
      ) returns table (
        name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
        last_accessed_at timestamptz, metadata jsonb,
        version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz
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
            select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
              o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
            from storage.objects o
            where o.bucket_id = bucket and o.name collate "C" %2$s
            order by o.name collate "C" %3$s
          loop
            slash := position('/' in substr(item.name, level_start));
            if slash > 0 then
              folder := left(item.name, level_start - 1 + slash);
              exit;
            end if;
            name := item.name; is_folder := false; id := item.id; updated_at := item.updated_at;
            created_at := item.created_at; last_accessed_at := item.last_accessed_at; metadata := item.metadata;
            version := item.version; is_versioned := item.is_versioned;
            auto_delete_after_days := item.auto_delete_after_days; auto_delete_at := item.auto_delete_at;
            return next;
            wanted := wanted - 1;
            exit when wanted = 0;
          end loop;
          exit when folder is null;
          name := folder; is_folder := true; id := null; updated_at := null;
          created_at := null; last_accessed_at := null; metadata := null;
          version := null; is_versioned := null; auto_delete_after_days := null; auto_delete_at := null;
          return next;
          wanted := wanted - 1;
          -- '0' is the character after '/': the first name that cannot be in the folder.
          place := left(folder, -1) || %4$L;
        end loop;
      end $body$
    $f$, variant.suffix, variant.range, variant.direction, variant.past_folder);
  end loop;
end $do$;

-- Names in order of time, off the index, that begin with a prefix, after an entry. Fixed columns and directions, and no
-- choice for the planner, as above. A row without a time, or with one that is no date to a client, counts as older than
-- all: `after_time` is null when the page before ended at such a row.
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
      create or replace function storage.%1$I(
        bucket text, prefix text, after text, after_time timestamptz, max_rows integer
      ) returns table (
        name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb,
        version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz
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
              select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
                o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
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
                select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
                  o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
                from storage.objects o where o.bucket_id = bucket and o.%2$I is null
                union all
                select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
                  o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
                from storage.objects o where o.bucket_id = bucket and o.%2$I < earliest
                union all
                select o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
                  o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at
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
    $f$, 'entries_by_' || variant.moment || variant.suffix, variant.moment, variant.direction, variant.beyond);
  end loop;
end $do$;

-- List v2 (wire §3.13): names that begin with `prefix`, case counting, after the entry `after`; with `delimited`, folders
-- are shown once, as their name with the slash. Times count whole. Only by time, with folders or with at most 5000 names, is
-- anything sorted. A row that plain SQL left without a time, or with one that is no date to a client, counts as older than
-- all.
create or replace function storage.page_entries(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb,
  version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz
) language plpgsql stable as $$
declare
  most_sorted constant integer := 5000;
  level_start integer := case when delimited then length(prefix) + 1 else 1000000 end;
  earliest constant timestamptz := '1000-01-01 00:00:00Z';
  latest constant timestamptz := '9999-12-31 23:59:59.999999Z';
begin
  if sort_column = 'name' and sort_order = 'desc' then
    return query
      select * from storage.level_entries_desc(
        bucket, prefix, level_start, least(after collate "C", storage.prefix_end(prefix)), max_rows);
  elsif sort_column = 'name' then
    return query
      select * from storage.level_entries(bucket, prefix, level_start, case
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
      'select f.name, false, f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata,
         f.version, f.is_versioned, f.auto_delete_after_days, f.auto_delete_at
       from storage.%I($1, $2, $3, $4, $5) f',
      'entries_by_' || case sort_column when 'updated_at' then 'updated_at' else 'created_at' end
        || case when sort_order = 'desc' then '_desc' else '' end
    ) using bucket, prefix, after, after_time, max_rows;
  else
    return query
      with entries as (
        select o.name, false as is_folder, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata,
          o.version, o.is_versioned, o.auto_delete_after_days, o.auto_delete_at,
          case sort_column when 'updated_at' then o.updated_at else o.created_at end as moment
        from storage.objects o
        where o.bucket_id = bucket
          and o.name collate "C" >= prefix and o.name collate "C" < storage.prefix_end(prefix)
          and position('/' in substr(o.name, level_start)) = 0
        union all
        select f.name, true, null, min(f.created_at), min(f.created_at), null, null,
          null, null, null, null, min(f.created_at)
        from (
          select left(o.name, level_start - 1 + position('/' in substr(o.name, level_start))) as name, o.created_at
          from storage.objects o
          where o.bucket_id = bucket
            and o.name collate "C" >= prefix and o.name collate "C" < storage.prefix_end(prefix)
            and position('/' in substr(o.name, level_start)) > 0
        ) f
        group by f.name
      )
      select e.name, e.is_folder, e.id, e.updated_at, e.created_at, e.last_accessed_at, e.metadata,
        e.version, e.is_versioned, e.auto_delete_after_days, e.auto_delete_at
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

-- The same, as one call that becomes the caller first. `keeps_versions` is true of the bucket if it has, or has had, versions.
create or replace function storage.page_entries_as(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text, context text
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb,
  version text, is_versioned boolean, auto_delete_after_days integer, auto_delete_at timestamptz, keeps_versions boolean
) language plpgsql as $$
declare
  kept boolean;
begin
  perform set_config('role', 'service_role', true);
  kept := storage.keeps_versions(bucket);
  perform storage.act_as(context);
  return query
    select l.*, kept from storage.page_entries(bucket, prefix, delimited, max_rows, after, after_time, sort_column, sort_order) l;
end $$;

revoke execute on function
  storage.page_entries_as(text, text, boolean, integer, text, timestamptz, text, text, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.page_entries_as(text, text, boolean, integer, text, timestamptz, text, text, text)
to service_role, strongroom_server;
