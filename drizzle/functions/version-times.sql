-- Going back in time (decision 0070): what names had at a moment. Each version has its range, [valid_from, archived_at), and
-- what is there now has one without an end.

-- Whether a bucket keeps what is deleted, and from which moment on it knows of all that was. No row: there is no such bucket.
create or replace function storage.bucket_memory(bucket text) returns table (
  keeps boolean, reach timestamptz, now timestamptz
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.history_since is not null,
    greatest(b.history_since, clock_timestamp() - interval '1 day'
      * case when b.versioning_status = 'DISABLED' then b.trash_days else coalesce(b.version_retention_days, 90) end),
    clock_timestamp()
  from storage.buckets b where b.id = bucket
$$;

-- The first name at or behind `place` that has, or had, anything. Each by one seek of its index.
create or replace function storage.name_behind(bucket text, place text, is_itself boolean) returns text
  language plpgsql stable as $$
begin
  if is_itself then
    return least(
      (select o.name collate "C" from storage.objects o
        where o.bucket_id = bucket and o.name collate "C" >= place order by o.name collate "C" limit 1),
      (select v.name from storage.object_versions v
        where v.bucket_id = bucket and v.name >= place order by v.name limit 1));
  end if;
  return least(
    (select o.name collate "C" from storage.objects o
      where o.bucket_id = bucket and o.name collate "C" > place order by o.name collate "C" limit 1),
    (select v.name from storage.object_versions v
      where v.bucket_id = bucket and v.name > place order by v.name limit 1));
end $$;

-- What a name had at a moment: `kind` is 'object' for what is there now, or that of its row in storage.object_versions. Null: it
-- had nothing, or that is `lost`: 'not_kept', it had, or may have had, what is gone; 'before_history', its bucket does not know.
--
-- Numbers show what is gone. Where no versions are kept, so does the day on which a row was made: then it had other bytes, or
-- another name.
create or replace function storage.object_at(
  bucket text, object text, moment timestamptz, reach timestamptz,
  out item storage.objects, out kind text, out sequence bigint, out since timestamptz, out until timestamptz, out lost text
) language plpgsql stable as $$
declare
  live storage.objects;
  row_then storage.object_versions;
  before record;
  later record;
begin
  select o.* into live from storage.objects o where o.bucket_id = bucket and o.name = object;
  if live.id is not null then
    since := coalesce(live.current_since, live.updated_at, live.created_at, '-infinity');
    if since <= moment then
      item := live;
      kind := 'object';
      return;
    end if;
  end if;
  select v.* into row_then from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind in ('version', 'trash')
    and v.valid_from <= moment and moment < v.archived_at
  order by v.sequence desc limit 1;
  if found then
    item := storage.as_object(row_then);
    kind := row_then.kind;
    sequence := row_then.sequence;
    since := row_then.valid_from;
    until := row_then.archived_at;
    return;
  end if;

  since := null;
  select v.version_number as number, (v.object_row ->> 'created_at')::timestamptz as made into later
  from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.valid_from > moment
  order by v.sequence limit 1;
  if not found then
    if live.id is null then
      return;
    end if;
    select coalesce(live.version_number, 1) as number, live.created_at as made into later;
  end if;
  select v.kind, v.version_number as number into before
  from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.archived_at <= moment
  order by v.sequence desc limit 1;
  if found and before.kind <> 'trash' and before.number = later.number - 1 then
    return;
  end if;
  if exists (select from storage.buckets b where b.id = bucket and b.versioning_status = 'DISABLED') then
    lost := case when later.made <= moment then 'not_kept' end;
  elsif later.number > 1 then
    lost := 'not_kept';
  end if;
  if lost is null and coalesce(moment < reach, true) then
    lost := 'before_history';
  end if;
end $$;

-- Whether both are the same to a reader: bytes, metadata and tags. A copy is, whenever it was made.
create or replace function storage.is_same_object(one storage.objects, other storage.objects) returns boolean
  language sql immutable as $$
  select (one).version is not distinct from (other).version or (
    (one).metadata - 'lastModified' is not distinct from (other).metadata - 'lastModified'
    and coalesce((one).checksum = (other).checksum, true)
    and coalesce((one).user_metadata, '{}') = coalesce((other).user_metadata, '{}')
    and coalesce((one).tags, '{}') = coalesce((other).tags, '{}'))
$$;

-- What has to be done with each name so that a folder is what it was at a moment, or, where `target` is not null, so that this
-- one is: names begin with it then instead. Whoever may see it: of that `judged` says, as `may_have` takes it. `outcome` is
--
--   'restored'     the name gets what it had, in place of `current` (its version, null when it has nothing)
--   'deleted'      it had nothing; never with `target`
--   'unchanged'    it has that already
--   'unavailable'  it stays as it is, for `reason`: 'not_kept' and 'before_history' of `object_at`; 'changed', since `began`;
--                  'would_be_lost', what it has now, since nothing would keep that
--
-- `is_freed_first`: what is there is kept if it is deleted, and would not be if it were replaced. It looks at no more than so many
-- names: where they were not enough, a row without an outcome says up to which it has come.
create or replace function storage.names_at(
  bucket text, prefix text, target text, moment timestamptz, began timestamptz, after_name text, max_rows integer, most_looks integer
) returns table (
  name text, target_name text, outcome text, reason text, current text, is_freed_first boolean, judged storage.objects, looked integer
) language plpgsql stable as $$
declare
  prefix_end constant text := storage.prefix_end(prefix);
  reach constant timestamptz := (select m.reach from storage.bucket_memory(bucket) m);
  place text := coalesce(after_name, prefix);
  is_itself boolean := after_name is null;
  settings record;
  was record;
  live storage.objects;
  newest storage.object_versions;
  changed_at timestamptz;
  wanted integer := max_rows;
begin
  select b.versioning_status as status, b.trash_days into settings from storage.buckets b where b.id = bucket;
  if place collate "C" < prefix then
    place := prefix;
    is_itself := true;
  end if;
  looked := 0;
  while wanted > 0 loop
    name := storage.name_behind(bucket, place, is_itself);
    exit when name is null or name collate "C" >= prefix_end;
    if looked = most_looks then
      name := place;
      outcome := null;
      return next;
      exit;
    end if;
    looked := looked + 1;
    place := name;
    is_itself := false;
    target_name := case when target is null then name else target || substr(name, length(prefix) + 1) end;
    was := storage.object_at(bucket, name, moment, reach);
    select o.* into live from storage.objects o where o.bucket_id = bucket and o.name = target_name;
    continue when was.kind is null and was.lost is null and (target is not null or live.id is null);

    judged := was.item;
    if was.kind is null and (target is not null or live.id is null) then
      -- Of what is lost, by what there is of that name.
      select v.* into newest from storage.object_versions v
      where v.bucket_id = bucket and v.name = names_at.name order by v.is_delete_marker, v.sequence desc limit 1;
      if found then
        judged := storage.as_object(newest);
      else
        select o.* into judged from storage.objects o where o.bucket_id = bucket and o.name = names_at.name;
      end if;
    elsif was.kind is null then
      judged := live;
    end if;

    current := case when live.id is not null then coalesce(live.version, '') end;
    is_freed_first := false;
    reason := was.lost;
    if was.lost is not null then
      outcome := 'unavailable';
    elsif was.kind is null then
      outcome := 'deleted';
    elsif live.id is not null and storage.is_same_object(was.item, live) then
      outcome := 'unchanged';
    else
      outcome := 'restored';
    end if;
    if outcome in ('restored', 'deleted') then
      if live.id is not null then
        changed_at := live.current_since;
      else
        select max(v.archived_at) into changed_at from storage.object_versions v
        where v.bucket_id = bucket and v.name = target_name;
      end if;
      if changed_at > began then
        reason := 'changed';
      elsif live.id is not null and settings.status <> 'ENABLED' and live.is_versioned is not true then
        if settings.trash_days = 0 then
          reason := 'would_be_lost';
        else
          is_freed_first := outcome = 'restored';
        end if;
      end if;
      if reason is not null then
        outcome := 'unavailable';
      end if;
    end if;
    return next;
    wanted := wanted - 1;
  end loop;
end $$;

-- The same as far as the caller sees them; names that he does not see are left out. With `target` it tells of what is there, or was, no
-- more than he sees of it: a name that is hidden from him is to be restored like one that nothing has, and refused when it comes to that.
--
-- It looks at no more than so many names (null: at all): where it ends before there are `max_rows`, a last row without an outcome says up
-- to which it has come, which may be one that the caller does not see.
create or replace function storage.names_at_as(
  bucket text, prefix text, target text, moment timestamptz, began timestamptz, after_name text, max_rows integer, most_looks integer,
  context text
) returns table (
  name text, target_name text, outcome text, reason text, current text, is_freed_first boolean
) language plpgsql as $$
declare
  is_service constant boolean := storage.role_of(context) = 'service_role';
  size constant integer := least(max_rows, 1001);
  looks integer := coalesce(most_looks, 2147483647);
  condition text;
  place text := after_name;
  wanted integer := max_rows;
  items record;
  answers boolean[];
  seen_there text[];
  is_seen boolean;
  last integer; -- of these, the one up to which the page has come
begin
  perform set_config('role', 'service_role', true);
  if not is_service then
    condition := storage.condition_of(storage.role_of(context), 'r');
  end if;
  while wanted > 0 loop
    select array_agg(n.name) as names, array_agg(n.target_name) as target_names, array_agg(n.outcome) as outcomes,
      array_agg(n.reason) as reasons, array_agg(n.current) as currents, array_agg(n.is_freed_first) as are_freed_first,
      array_agg(n.judged) filter (where n.outcome is not null) as judged, max(n.looked) as looked
    into items
    from storage.names_at(bucket, prefix, target, moment, began, place, size, looks) n;
    exit when items.names is null;
    looks := looks - items.looked;
    last := cardinality(items.names);
    answers := null;
    if not is_service and items.judged is not null then
      answers := storage.hold_at_once(items.judged, false, condition, context);
      if answers is null then
        condition := null;
      end if;
      if target is not null then
        perform storage.act_as(context);
        seen_there := array(select o.name from storage.objects o where o.bucket_id = bucket and o.name = any (items.target_names));
        perform set_config('role', 'service_role', true);
      end if;
    end if;
    for n in 1 .. coalesce(cardinality(items.judged), 0) loop
      is_seen := is_service or answers[n];
      if is_seen is null then
        looks := looks - 4; -- which takes longer
        is_seen := storage.may_have(items.judged[n], 'see', context);
        perform set_config('role', 'service_role', true);
      end if;
      if is_seen then
        name := items.names[n];
        target_name := items.target_names[n];
        outcome := items.outcomes[n];
        reason := items.reasons[n];
        current := items.currents[n];
        is_freed_first := items.are_freed_first[n];
        if target is not null and not is_service and (outcome <> 'unavailable' or reason in ('changed', 'would_be_lost'))
          and target_name <> all (seen_there)
        then
          outcome := 'restored';
          reason := null;
          current := null;
          is_freed_first := false;
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
    place := items.names[last];
    if looks <= 0 then
      name := place;
      target_name := null; outcome := null; reason := null; current := null; is_freed_first := null;
      return next;
      exit;
    end if;
    exit when last < size;
  end loop;
  perform set_config('role', storage.role_of(context), true);
end $$;

-- In place of what servers have called before.
drop function if exists
  storage.names_at(text, text, text, timestamptz, timestamptz, text, integer),
  storage.names_at_as(text, text, text, timestamptz, timestamptz, text, integer, text);

revoke execute on function
  storage.bucket_memory(text),
  storage.name_behind(text, text, boolean),
  storage.object_at(text, text, timestamptz, timestamptz),
  storage.is_same_object(storage.objects, storage.objects),
  storage.names_at(text, text, text, timestamptz, timestamptz, text, integer, integer),
  storage.names_at_as(text, text, text, timestamptz, timestamptz, text, integer, integer, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.bucket_memory(text),
  storage.name_behind(text, text, boolean),
  storage.object_at(text, text, timestamptz, timestamptz),
  storage.is_same_object(storage.objects, storage.objects),
  storage.names_at(text, text, text, timestamptz, timestamptz, text, integer, integer),
  storage.names_at_as(text, text, text, timestamptz, timestamptz, text, integer, integer, text)
to service_role, strongroom_server;
