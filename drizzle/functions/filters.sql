-- Lists with filters (decision 0077): what of a bucket, or of all of them, is so and so, as far as the caller sees it. The policies
-- are asked about what the filters let through, and not of all rows before: the planner may use none of these indexes under them.

-- That the content type of `o` is one of these, whatever its parameters; with a star at the end, that it begins so.
create or replace function storage.type_condition(types jsonb) returns text language sql immutable as $$
  select '(' || string_agg(case
    when right(t, 1) = '*' then
      format('(%1$s >= %2$L and %1$s < %3$L)', e.type, left(t, -1), storage.prefix_end(left(t, -1)))
    else
      -- '<' is the character after ';'.
      format('(%1$s = %2$L or (%1$s >= %3$L and %1$s < %4$L))', e.type, t, t || ';', t || '<')
    end, ' or ') || ')'
  from jsonb_array_elements_text(types) t, (values ('left(o.metadata ->> ''mimetype'', 255) collate "C"')) e (type)
$$;

-- Each filter as a condition of `o`, and how an index finds what it lets through; null where none does. `most` is how many that may be
-- where statistics do not know. `filter` is as servers have checked it (src/http/rest/operations/list-filter.ts).
create or replace function storage.filter_conditions(bucket text, filter jsonb) returns table (condition text, driver text, most real)
  language sql stable as $$
  select c.condition, case when c.is_indexed then
      case when c.is_of_bucket then format('o.bucket_id = %L and ', bucket) else '' end || c.condition
    end,
    case when f.key = 'min_size' then (select nullif(i.reltuples, -1) from pg_class i where i.oid = 'storage.objects_large'::regclass) end
  from jsonb_each(filter) f (key, value),
    lateral (select f.value #>> '{}', case when jsonb_typeof(f.value) = 'array'
      then array(select jsonb_array_elements_text(f.value)) end) v (text, list),
    lateral (
      select format('o.owner_id = %L', v.text), true, false where f.key = 'owner_id'
      union all
      select format('o.organization_id = %L', v.text), true, false where f.key = 'organization_id'
      union all
      select 'o.access_level = ''private''', false, false where f.key = 'access_level' and v.text = 'private'
      union all
      select format('(o.access_level <> ''private'' and o.access_level = %L)', v.text), true, false
      where f.key = 'access_level' and v.text <> 'private'
      union all
      select storage.type_condition(f.value), bucket is not null, true where f.key = 'content_types'
      union all
      -- What says itself what it is, or is it by its content type.
      select format(case when k.is_other
            then '(o.asset_type = %L or (o.asset_type is null and not coalesce(%s, false)))'
            else '(o.asset_type = %L or (o.asset_type is null and %s))'
          end, f.value ->> 'type', storage.type_condition(f.value -> 'content_types')),
        bucket is not null and not k.is_other, true
      from (values ((f.value ->> 'is_other')::boolean)) k (is_other) where f.key = 'asset_type'
      union all
      select format('(o.tags <> ''{}'' and o.tags @> %L::text[])', v.list), true, false where f.key = 'tags'
      union all
      select format('(o.tags <> ''{}'' and o.tags && %L::text[])', v.list), true, false where f.key = 'any_tags'
      union all
      select format('(o.user_metadata is not null and o.user_metadata <> ''{}'' and o.user_metadata @> %L::jsonb)', f.value),
        -- Without a value in it, the index would be read from its beginning to its end.
        jsonb_path_exists(f.value, 'strict $.** ? (@.type() != "object" && @.type() != "array")'), false
      where f.key = 'metadata'
      union all
      select format('(o.created_at >= coalesce(%L::timestamptz, ''-infinity'') and o.created_at < coalesce(%L::timestamptz, ''infinity''))',
          f.value ->> 'after', f.value ->> 'before'),
        bucket is not null, true
      where f.key = 'created'
      union all
      -- To JSON a number is less than a boolean, and more than a text.
      select format('((o.metadata -> ''size'') >= %L::jsonb and (o.metadata -> ''size'') < ''false''::jsonb)', v.text),
        v.text::bigint >= 16777216, false
      where f.key = 'min_size'
      union all
      select format('((o.metadata -> ''size'') <= %L::jsonb and jsonb_typeof(o.metadata -> ''size'') = ''number'')', v.text), false, false
      where f.key = 'max_size'
      union all
      select format('o.folded_name like %L', '%' || regexp_replace(lower(v.text collate "default"), '([\\%_])', '\\\1', 'g') || '%'),
        -- One that an operator has made.
        char_length(v.text) >= 3 and exists (
          select from pg_index i
          join pg_attribute a on a.attrelid = i.indrelid and a.attname = 'folded_name' and i.indnatts = 1 and i.indkey[0] = a.attnum
          join pg_opclass c on c.oid = i.indclass[0] and c.opcname in ('gin_trgm_ops', 'gist_trgm_ops')
          where i.indrelid = 'storage.objects'::regclass and i.indisvalid and i.indpred is null),
        false
      where f.key = 'search'
      union all
      select 'false', false, false where f.key = 'nothing'
    ) c (condition, is_indexed, is_of_bucket)
$$;

-- How an order sorts, and when a row comes behind a place in it. Times that are none count as older than all, as in other lists.
create or replace function storage.filter_moment(sort_column text) returns text language sql immutable as $$
  select case when sort_column = 'name' then 'null::timestamptz' else format(
    'case when o.%1$I between ''1000-01-01 00:00:00Z'' and ''9999-12-31 23:59:59.999999Z'' then o.%1$I else ''-infinity'' end', sort_column)
  end
$$;

-- All that an index finds, in order, behind a place, as far as it is at most so much; else null.
create or replace function storage.found_by_filter(
  driver text, condition text, most integer, after_bucket text, after_name text, after_time timestamptz, sort_column text,
  sort_order text
) returns table (
  are_all boolean, ids uuid[], buckets text[], names text[], times timestamptz[]
) language plpgsql stable set enable_seqscan = off set jit = off as $$
declare
  direction constant text := case when sort_order = 'desc' then 'desc' else 'asc' end;
  ordered constant text := format('f.moment %1$s, f.bucket_id %1$s, f.name collate "C" %1$s', direction);
begin
  return query execute format(
    'select count(*) <= $1, array_agg(f.id) filter (where f.is_found), array_agg(f.bucket_id) filter (where f.is_found),
       array_agg(f.name) filter (where f.is_found), array_agg(f.moment) filter (where f.is_found)
     from (
       select * from (
         select o.id, o.bucket_id, o.name, %2$s as moment,
           (%3$s) and ($2 is null or (coalesce(%2$s, ''-infinity''), o.bucket_id, o.name collate "C") %4$s (coalesce($4, ''-infinity''), $2, $3 collate "C")) as is_found
         from storage.objects o where %5$s limit $1 + 1
       ) f
       order by %1$s
     ) f',
    ordered, storage.filter_moment(sort_column), condition, case when sort_order = 'desc' then '<' else '>' end, driver
  ) using most, after_bucket, after_name, after_time;
end $$;

-- The next rows in order, so many, whether or not the filters let them through. Over all buckets: by bucket and name, or, with an
-- owner or an organisation, by when they were made.
create or replace function storage.walk_by_filter(
  bucket text, prefix text, driver text, condition text, max_rows integer, after_bucket text, after_name text, after_time timestamptz,
  sort_column text, sort_order text
) returns table (
  is_found boolean, id uuid, bucket_id text, name text, moment timestamptz
) language plpgsql stable set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
  direction constant text := case when sort_order = 'desc' then 'desc' else 'asc' end;
  beyond constant text := case when sort_order = 'desc' then '<' else '>' end;
begin
  if bucket is null and sort_column = 'name' then
    return query execute format(
      'select %1$s, o.id, o.bucket_id, o.name, null::timestamptz from storage.objects o
       where $1 is null or (o.bucket_id, o.name collate "C") %2$s ($1, $2 collate "C")
       order by o.bucket_id %3$s, o.name collate "C" %3$s limit $3',
      condition, beyond, direction) using after_bucket, after_name, max_rows;
  elsif bucket is null then
    return query execute format(
      'select %1$s, o.id, o.bucket_id, o.name, o.created_at from storage.objects o
       where %2$s and o.created_at between ''1000-01-01 00:00:00Z'' and ''9999-12-31 23:59:59.999999Z''
         and ($1 is null or (o.created_at %3$s= $3 and (o.created_at, o.bucket_id, o.name collate "C") %3$s ($3, $1, $2 collate "C")))
       order by o.created_at %4$s, o.bucket_id %4$s, o.name collate "C" %4$s limit $4',
      condition, driver, beyond, direction) using after_bucket, after_name, after_time, max_rows;
  elsif sort_column = 'name' then
    return query execute format(
      'select %1$s, o.id, o.bucket_id, o.name, null::timestamptz from storage.objects o
       where o.bucket_id = $1 and o.name collate "C" >= $2 and o.name collate "C" < $3
         and ($4 is null or o.name collate "C" %2$s $4 collate "C")
       order by o.name collate "C" %3$s limit $5',
      condition, beyond, direction) using bucket, prefix, storage.prefix_end(prefix), after_name, max_rows;
  else
    return query execute format(
      'select %1$s, o.id, o.bucket_id, o.name, %2$s
       from storage.page_entries($1, '''', false, $2, $3, $4, $5, $6) with ordinality e
       join storage.objects o on o.id = e.id
       order by e.ordinality',
      condition, storage.filter_moment(sort_column)) using bucket, max_rows, after_name, after_time, sort_column, sort_order;
  end if;
end $$;

-- Up to `max_rows` that the filters let through and the caller sees, past `skip` of them, behind a place. It looks at no more rows
-- than `most_looks` by each index, half of that in order, asks the policies about a quarter, and shows 4 MiB of user metadata: where it ends
-- before the last one, a row that is not seen says up to where it has come, which may be at what the caller does not see.
--
-- What an index finds, if that is not too much, is sorted; else the rows are looked through in their order, and so by the pages behind
-- this one, too (`is_walk`).
create or replace function storage.list_filtered_as(
  bucket text, prefix text, filter jsonb, max_rows integer, skip integer, most_looks integer, after_bucket text, after_name text,
  after_time timestamptz, is_walk boolean, sort_column text, sort_order text, with_metadata boolean, context text
) returns table (
  is_seen boolean, left_to_skip integer, is_walked boolean, bucket_id text, name text, id uuid, updated_at timestamptz,
  created_at timestamptz, last_accessed_at timestamptz, metadata jsonb, version text, is_versioned boolean,
  auto_delete_after_days integer, auto_delete_at timestamptz, keeps_versions boolean, tags text[], user_metadata jsonb, bucket_uid uuid
) language plpgsql as $$
declare
  most_walked constant integer := greatest(most_looks / 2, 1);
  most_judged constant integer := greatest(most_looks / 4, 1);
  most_bytes constant integer := 4194304;
  -- Of so many at once the metadata is read.
  chunk_size constant integer := case when with_metadata then 50 else 1001 end;
  walk_driver constant text := case
    when filter ? 'owner_id' then format('o.owner_id = %L', filter ->> 'owner_id')
    when filter ? 'organization_id' then format('o.organization_id = %L', filter ->> 'organization_id')
  end;
  condition text;
  drivers text[];
  most real[];
  estimates jsonb := '[]';
  driver text;
  plan jsonb;
  found record;
  ids uuid[];
  buckets text[];
  names text[];
  times timestamptz[];
  is_last boolean := true; -- of the parts that are looked through
  walked integer := 0;
  judged integer := 0;
  size integer;
  counted integer;
  first integer;
  last integer;
  item record;
  wanted integer := max_rows;
  bytes bigint := 0;
  known jsonb; -- of the buckets
  has_more boolean := false;
  place_bucket text := after_bucket;
  place_name text := after_name;
  place_time timestamptz := after_time;
begin
  left_to_skip := skip;
  perform set_config('role', 'service_role', true);
  select coalesce(string_agg(c.condition, ' and '), 'true'), array_agg(c.driver) filter (where c.driver is not null),
    array_agg(c.most) filter (where c.driver is not null)
  into condition, drivers, most from storage.filter_conditions(bucket, filter) c;
  if bucket is not null then
    condition := condition || format(' and o.bucket_id = %L', bucket);
  elsif sort_column <> 'name' then
    condition := condition || ' and o.created_at between ''1000-01-01 00:00:00Z'' and ''9999-12-31 23:59:59.999999Z''';
  end if;
  if prefix <> '' then
    condition := condition || format(' and o.name collate "C" >= %L and o.name collate "C" < %L', prefix, storage.prefix_end(prefix));
    if bucket is not null and sort_column <> 'name' then
      drivers := drivers || format('o.bucket_id = %L and o.name collate "C" >= %L and o.name collate "C" < %L',
        bucket, prefix, storage.prefix_end(prefix));
    end if;
  end if;

  if not is_walk then
    is_walk := true;
    for n in 1 .. coalesce(cardinality(drivers), 0) loop
      execute 'explain (format json) select from storage.objects o where ' || drivers[n] into plan;
      estimates := estimates || jsonb_build_array(jsonb_build_object(
        'driver', drivers[n], 'rows', least((plan -> 0 -> 'Plan' ->> 'Plan Rows')::numeric, most[n]::numeric)));
    end loop;
    -- Statistics know nothing of what is in user metadata, and little of a new table: so they err, but seldom twice.
    for driver in
      select e ->> 'driver' from jsonb_array_elements(estimates) e
      where (e ->> 'rows')::numeric <= most_looks * 10.0 order by (e ->> 'rows')::numeric limit 2
    loop
      select * into found from storage.found_by_filter(
        driver, condition, most_looks, after_bucket, after_name, after_time, sort_column, sort_order);
      if found.are_all then
        is_walk := false;
        ids := found.ids;
        buckets := found.buckets;
        names := found.names;
        times := found.times;
        exit;
      end if;
    end loop;
  end if;
  is_walked := is_walk;

  loop
    if is_walk then
      size := least(case when walked = 0 then 2000 else 4000 end, most_walked - walked);
      select array_agg(w.id) filter (where w.is_found), array_agg(w.bucket_id) filter (where w.is_found),
        array_agg(w.name) filter (where w.is_found), array_agg(w.moment) filter (where w.is_found), count(*),
        (array_agg(w.bucket_id))[count(*)], (array_agg(w.name))[count(*)], (array_agg(w.moment))[count(*)]
      into ids, buckets, names, times, counted, bucket_id, name, created_at
      from storage.walk_by_filter(
        bucket, prefix, walk_driver, condition, size, after_bucket, after_name, after_time, sort_column, sort_order) w;
      is_last := counted < size;
      walked := walked + counted;
      after_bucket := bucket_id;
      after_name := name;
      after_time := created_at;
    end if;

    first := 1;
    while first <= cardinality(ids) loop
      select jsonb_object_agg(b.id, jsonb_build_object('uid', b.uid, 'keeps_versions', storage.keeps_versions(b.id))) into known
      from storage.buckets b where b.id in (select distinct unnest(buckets[first : first + chunk_size - 1]));
      perform storage.act_as(context);
      is_seen := true;
      last := first - 1;
      for item in
        select o.bucket_id, o.name, o.id, o.updated_at, o.created_at, o.last_accessed_at, o.metadata, o.version, o.is_versioned,
          o.auto_delete_after_days, o.auto_delete_at, o.tags, case when with_metadata then o.user_metadata end as user_metadata, c.n
        from unnest(ids[first : first + chunk_size - 1]) with ordinality c (id, n)
        join storage.objects o on o.id = c.id
        order by c.n
      loop
        if left_to_skip > 0 then
          left_to_skip := left_to_skip - 1;
          continue;
        end if;
        bytes := bytes + coalesce(octet_length(item.user_metadata::text), 0);
        has_more := wanted = 0 or (bytes > most_bytes and wanted < max_rows);
        exit when has_more;
        bucket_id := item.bucket_id; name := item.name; id := item.id; updated_at := item.updated_at; created_at := item.created_at;
        last_accessed_at := item.last_accessed_at; metadata := storage.without_parts(item.metadata); version := item.version;
        is_versioned := item.is_versioned; auto_delete_after_days := item.auto_delete_after_days;
        auto_delete_at := item.auto_delete_at; tags := item.tags; user_metadata := item.user_metadata;
        keeps_versions := coalesce((known -> item.bucket_id ->> 'keeps_versions')::boolean, false);
        bucket_uid := (known -> item.bucket_id ->> 'uid')::uuid;
        return next;
        wanted := wanted - 1;
        last := first - 1 + item.n;
      end loop;
      perform set_config('role', 'service_role', true);
      judged := judged + least(chunk_size, cardinality(ids) - first + 1);
      -- Where more than a page is there, it ends at the last one that it shows.
      if not has_more then
        last := least(first + chunk_size - 1, cardinality(ids));
        has_more := judged >= most_judged and (last < cardinality(ids) or not is_last);
      end if;
      if last >= first then
        place_bucket := buckets[last];
        place_name := names[last];
        place_time := times[last];
      end if;
      exit when has_more;
      first := first + chunk_size;
    end loop;
    exit when has_more or is_last;
    place_bucket := after_bucket;
    place_name := after_name;
    place_time := after_time;
    has_more := walked >= most_walked;
    exit when has_more;
  end loop;
  if has_more then
    is_seen := false; bucket_id := place_bucket; name := place_name; created_at := place_time; id := null; updated_at := null;
    last_accessed_at := null; metadata := null; version := null; is_versioned := null; auto_delete_after_days := null;
    auto_delete_at := null; keeps_versions := null; tags := null; user_metadata := null; bucket_uid := null;
    return next;
  end if;
  perform set_config('role', storage.role_of(context), true);
end $$;

revoke execute on function
  storage.found_by_filter(text, text, integer, text, text, timestamptz, text, text),
  storage.walk_by_filter(text, text, text, text, integer, text, text, timestamptz, text, text),
  storage.list_filtered_as(
    text, text, jsonb, integer, integer, integer, text, text, timestamptz, boolean, text, text, boolean, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.found_by_filter(text, text, integer, text, text, timestamptz, text, text),
  storage.walk_by_filter(text, text, text, text, integer, text, text, timestamptz, text, text),
  storage.list_filtered_as(
    text, text, jsonb, integer, integer, integer, text, text, timestamptz, boolean, text, text, boolean, text)
to service_role, strongroom_server;
