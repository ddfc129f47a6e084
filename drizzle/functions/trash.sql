-- The trash (decision 0070, docs/versions.md): what was deleted in buckets that keep no versions of it, for those who may bring it
-- back or remove it for good.

-- Whether the caller has a right to this by who he is: it is his, or in a bucket of his, or he is the service.
create or replace function storage.owns_trash(owner text, bucket text, context text) returns boolean
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select r.name = 'service_role' or (
    s.subject <> '' and pg_has_role(r.name, 'authenticated', 'usage')
    and (coalesce(s.subject = owner, false) or exists (select from storage.buckets b where b.id = bucket and b.owner_id = s.subject))
  )
  from storage.role_of(context) r (name), storage.subject_of(context) s (subject)
$$;

-- Whether the caller may see this, or, where `how` is 'delete', remove it for good: by who he is, or by what his policies say of
-- the row put back. What has its name by now is not what they are asked about.
create or replace function storage.may_have_trash(item storage.object_versions, how text, context text) returns boolean
  language plpgsql as $$
declare
  is_asked boolean := false;
  answer boolean;
begin
  perform set_config('role', 'service_role', true);
  if storage.owns_trash(item.owner_id, item.bucket_id, context) then
    return true;
  end if;
  begin
    update storage.objects o set name = gen_random_uuid()::text where o.bucket_id = item.bucket_id and o.name = item.name;
    answer := storage.may_have(storage.as_object(item), how, context);
    is_asked := true; -- a variable keeps its value when the block's work is undone
    raise sqlstate 'PT200';
  exception when sqlstate 'PT200' then
    if not is_asked then
      raise;
    end if;
  end;
  perform set_config('role', 'service_role', true);
  return answer;
end $$;

-- What is in the trash, whoever may see it, by bucket, name and age, behind a place. In the order of its index, also if it was planned
-- while the table was small; and of one bucket no further than its names that begin so: one statement for both would read on to the end
-- of all buckets.
create or replace function storage.walk_trash(
  bucket text, prefix_end text, after_bucket text, after_name text, after_sequence bigint, max_rows integer
) returns setof storage.object_versions language plpgsql stable set enable_seqscan = off set enable_sort = off as $$
begin
  if bucket is null then
    return query
      select v.* from storage.object_versions v
      where v.kind = 'trash' and (v.bucket_id, v.name, v.sequence) > (after_bucket, after_name, after_sequence)
      order by v.bucket_id, v.name, v.sequence
      limit max_rows;
  else
    return query
      select v.* from storage.object_versions v
      where v.kind = 'trash' and v.bucket_id = bucket and v.name < prefix_end
        and (v.bucket_id, v.name, v.sequence) > (after_bucket, after_name, after_sequence)
      order by v.bucket_id, v.name, v.sequence
      limit max_rows;
  end if;
end $$;

-- Which of these the caller may see, of those whose names begin so and that this one has deleted (null: anybody), as far as it can be
-- said of many at once: for the others, which are null, their rows have to be put back.
create or replace function storage.see_trash(
  items storage.object_versions[], prefix text, who text, condition text, context text
) returns boolean[] language plpgsql as $$
declare
  answers boolean[] := array_fill(null::boolean, array[cardinality(items)]);
  asked record;
  found_of boolean[];
begin
  for n in 1 .. cardinality(items) loop
    if not starts_with((items[n]).name, prefix) or (who is not null and (items[n]).archived_by is distinct from who) then
      answers[n] := false;
    elsif storage.owns_trash((items[n]).owner_id, (items[n]).bucket_id, context) then
      answers[n] := true;
    end if;
  end loop;
  -- A bucket's together, whose policy it may be.
  for asked in
    select array_agg(p.place order by p.place) as places, array_agg(storage.as_object(items[p.place]) order by p.place) as rows
    from generate_subscripts(items, 1) p (place)
    where answers[p.place] is null
    group by (items[p.place]).bucket_id
  loop
    found_of := storage.hold_at_once(asked.rows, true, condition, context);
    exit when found_of is null;
    for n in 1 .. cardinality(found_of) loop
      answers[asked.places[n]] := found_of[n];
    end loop;
  end loop;
  return answers;
end $$;

-- Lists what is in the trash and the caller may see, by bucket, name and age, behind a place. It looks at no more than so many
-- rows: where it ends before there are `max_rows`, the last one only says up to where it has come (`is_seen` false).
create or replace function storage.list_trash_as(
  bucket text, prefix text, who text, after_bucket text, after_name text, after_sequence bigint, max_rows integer, context text
) returns table (
  is_seen boolean, sequence bigint, bucket_id text, id uuid, name text, version text, size bigint, content_type text, checksum text,
  owner_id text, user_metadata jsonb, created_at timestamptz, updated_at timestamptz,
  deleted_at timestamptz, deleted_by text, purge_at timestamptz
) language plpgsql as $$
declare
  prefix_end constant text := storage.prefix_end(prefix);
  condition text;
  items storage.object_versions[];
  answers boolean[];
  item storage.object_versions;
  looks integer := 2000;
  wanted integer := max_rows;
  batch integer := least(max_rows, 1001);
  before integer;
begin
  perform set_config('role', 'service_role', true);
  if storage.role_of(context) <> 'service_role' then
    condition := storage.condition_of(storage.role_of(context), 'r');
  end if;
  bucket_id := coalesce(after_bucket, bucket, '');
  name := coalesce(after_name, case when bucket is not null then prefix end, '');
  sequence := coalesce(after_sequence, -1);
  while wanted > 0 and looks > 0 loop
    items := array(select w from storage.walk_trash(bucket, prefix_end, bucket_id, name, sequence, least(batch, looks)) w);
    exit when cardinality(items) = 0;
    before := wanted;
    answers := storage.see_trash(items, prefix, who, condition, context);
    for n in 1 .. cardinality(items) loop
      item := items[n];
      looks := looks - 1;
      is_seen := answers[n];
      if is_seen is null then
        looks := looks - 4; -- which takes longer
        is_seen := storage.may_have_trash(item, 'see', context);
      end if;
      sequence := item.sequence;
      bucket_id := item.bucket_id;
      name := item.name;
      if is_seen then
        id := item.object_id;
        version := item.version;
        size := item.size;
        content_type := item.object_row -> 'metadata' ->> 'mimetype';
        checksum := item.checksum;
        owner_id := item.owner_id;
        user_metadata := item.object_row -> 'user_metadata';
        created_at := (item.object_row ->> 'created_at')::timestamptz;
        updated_at := (item.object_row ->> 'updated_at')::timestamptz;
        deleted_at := item.archived_at;
        deleted_by := item.archived_by;
        purge_at := item.purge_at;
        wanted := wanted - 1;
      end if;
      if is_seen then
        return next;
      end if;
      if looks <= 0 and wanted > 0 then
        is_seen := false;
        return next;
      end if;
      exit when wanted = 0 or looks <= 0;
    end loop;
    batch := case when wanted = before then least(batch * 4, 1001) else least(max_rows, 1001) end;
  end loop;
  perform set_config('role', storage.role_of(context), true);
end $$;

-- What is meant by an id, of an object or of its version, or by a name: the newest of those that the caller may see, locked. Of
-- more than so many nobody looks further. Where a name has none, as much is asked as where it has one: the time that it takes tells
-- nobody which names others have had.
create or replace function storage.find_trash(wanted uuid, bucket text, object text, context text)
  returns storage.object_versions language plpgsql as $$
declare
  item storage.object_versions;
  is_any boolean := false;
begin
  perform set_config('role', 'service_role', true);
  for item in
    select v.* from storage.object_versions v
    where v.kind = 'trash' and (v.version = wanted::text or v.object_id = wanted or (v.bucket_id = bucket and v.name = object))
    order by v.version is not distinct from wanted::text desc, v.sequence desc
    limit 100
  loop
    is_any := true;
    if storage.may_have_trash(item, 'see', context) then
      -- Somebody else may have taken it out meanwhile.
      perform from storage.object_versions v where v.sequence = item.sequence for update;
      if found then
        return item;
      end if;
    end if;
  end loop;
  if not is_any and exists (select from storage.buckets b where b.id = bucket) then
    item := null;
    item.bucket_id := bucket;
    item.name := object;
    item.object_id := gen_random_uuid();
    item.version := gen_random_uuid()::text;
    perform storage.may_have_trash(item, 'see', context);
  end if;
  return null;
end $$;

-- Brings back what was deleted, under its own name or another one of the bucket: the same row with the same bytes. By who he is
-- the caller may have it where it was; else his policies have to let him make such a row. What has the name gives way to it with
-- `overwrite`, if the caller may delete that. No row: there is nothing that he may see; 'taken' and 'kept' say why it is not back.
-- Fails as an insert does.
create or replace function storage.restore_trash(
  wanted uuid, bucket text, object text, new_name text, overwrite boolean, context text
) returns table (
  outcome text, id uuid, bucket_id text, name text, version text, size bigint, content_type text, checksum text,
  owner_id text, user_metadata jsonb, created_at timestamptz, updated_at timestamptz, removed_versions uuid[], removed_buckets uuid[]
) language plpgsql as $$
declare
  item storage.object_versions;
  back storage.objects;
begin
  perform storage.act_as(context); -- the event tells who it was
  perform set_config('role', 'service_role', true);
  item := storage.find_trash(wanted, bucket, object, context);
  if item.sequence is null then
    return;
  end if;
  back := storage.as_object(item);
  back.name := coalesce(new_name, item.name);

  if back.name <> item.name or not storage.owns_trash(item.owner_id, item.bucket_id, context) then
    perform storage.act_as(context);
    begin
      perform storage.trial_write(
        back.bucket_id, back.name, back.owner, back.owner_id, back.metadata, back.user_metadata, false, back.tags, null,
        storage.attributes_of(back));
    exception when unique_violation then
      null; -- he may; of what has the name only who may is told
    end;
    perform set_config('role', 'service_role', true);
  end if;
  if exists (select from storage.objects o where o.bucket_id = back.bucket_id and o.name = back.name) then
    outcome := 'taken';
    if not overwrite then
      return next;
      return;
    end if;
    perform storage.act_as(context);
    perform set_config('storage.deletion', 'replace', true);
    delete from storage.objects o where o.bucket_id = back.bucket_id and o.name = back.name;
    if not found then
      outcome := 'kept';
      return next;
      return;
    end if;
    perform set_config('storage.deletion', '', true);
    perform set_config('role', 'service_role', true);
  end if;

  if exists (select from storage.buckets b where b.id = back.bucket_id and b.versioning_status <> 'DISABLED') then
    back.version_number := null; -- behind what the name has had meanwhile
  else
    back.current_since := storage.moment_after(item.archived_at); -- nothing was there while it was in the trash
  end if;
  if back.auto_delete_at <= now() then
    back.auto_delete_after_days := null; -- or it would not stay
    back.auto_delete_at := null;
  end if;
  if exists (select from storage.objects o where o.id = back.id) then
    back.id := gen_random_uuid();
  end if;
  perform set_config('storage.restoring', 'true', true); -- it keeps its id
  perform storage.put_back(back);
  perform set_config('storage.restoring', '', true);
  -- After the object's row is there: or its bytes would be listed for removal.
  delete from storage.object_versions v where v.sequence = item.sequence;

  outcome := 'restored';
  id := back.id;
  bucket_id := back.bucket_id;
  name := back.name;
  version := back.version;
  size := item.size;
  content_type := back.metadata ->> 'mimetype';
  checksum := back.checksum;
  owner_id := back.owner_id;
  user_metadata := back.user_metadata;
  created_at := back.created_at;
  updated_at := back.updated_at;
  select array_agg(r.version), array_agg(r.bucket_uid) into removed_versions, removed_buckets from storage.own_removals() r;
  return next;
  -- What triggers do at the end of the transaction they do as the caller.
  perform set_config('role', storage.role_of(context), true);
end $$;

-- Removes one for good. No row: there is nothing that the caller may see; 'kept': he may not remove it.
create or replace function storage.delete_trash(wanted uuid, context text) returns table (
  outcome text, id uuid, bucket_id text, name text, size bigint, removed_versions uuid[], removed_buckets uuid[]
) language plpgsql as $$
declare
  item storage.object_versions;
begin
  perform storage.act_as(context);
  perform set_config('role', 'service_role', true);
  item := storage.find_trash(wanted, null, null, context);
  if item.sequence is null then
    return;
  end if;
  outcome := 'kept';
  id := item.object_id;
  bucket_id := item.bucket_id;
  name := item.name;
  size := item.size;
  if storage.may_have_trash(item, 'delete', context) then
    delete from storage.object_versions v where v.sequence = item.sequence;
    outcome := 'deleted';
    select array_agg(r.version), array_agg(r.bucket_uid) into removed_versions, removed_buckets from storage.own_removals() r;
  end if;
  return next;
  perform set_config('role', storage.role_of(context), true);
end $$;

-- Removes for good what is the caller's by who he is, at most so much, and nothing that is locked, or that somebody else has in
-- hand. `bucket` null is all of them.
create or replace function storage.empty_trash(bucket text, older_than_days integer, most integer, context text) returns table (
  gone integer, removed_versions uuid[], removed_buckets uuid[]
) language plpgsql as $$
declare
  before constant timestamptz := now() - older_than_days * interval '1 day';
  subject constant text := nullif(storage.subject_of(context), '');
  own_buckets text[];
begin
  perform storage.act_as(context);
  perform set_config('role', 'service_role', true);
  if storage.role_of(context) = 'service_role' then
    delete from storage.object_versions v where v.sequence in (
      select f.sequence from storage.object_versions f
      where f.kind = 'trash' and f.archived_at <= before and (empty_trash.bucket is null or f.bucket_id = empty_trash.bucket)
        and storage.lock_of(f.bucket_id, f.version, f.valid_from) is null
      limit most for update skip locked);
  elsif subject is not null and pg_has_role(storage.role_of(context), 'authenticated', 'usage') then
    own_buckets := array(select b.id from storage.buckets b where b.owner_id = subject);
    delete from storage.object_versions v where v.sequence in (
      select f.sequence from storage.object_versions f
      where f.kind = 'trash' and f.archived_at <= before and (empty_trash.bucket is null or f.bucket_id = empty_trash.bucket)
        and (f.owner_id = subject or f.bucket_id = any (own_buckets))
        and storage.lock_of(f.bucket_id, f.version, f.valid_from) is null
      limit most for update skip locked);
  else
    gone := 0;
  end if;
  if gone is null then
    get diagnostics gone = row_count;
  end if;
  select array_agg(r.version), array_agg(r.bucket_uid) into removed_versions, removed_buckets from storage.own_removals() r;
  return next;
  perform set_config('role', storage.role_of(context), true);
end $$;

-- Tells of what is removed from the trash for good; not of what has come back.
create or replace function storage.emit_purge() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into storage.events (
    type, bucket_id, name, version, size, content_type, checksum, owner_id, object_id, owner, metadata, user_metadata,
    object_created_at, object_updated_at, object_accessed_at, operation, bucket_policy, bucket_owner_id
  )
  select 'storage.object.purged', old.bucket_id, old.name, old.version, old.size, o.metadata ->> 'mimetype', old.checksum,
    old.owner_id, old.object_id, o.owner, o.metadata, storage.unless_large(o.user_metadata), o.created_at, o.updated_at,
    o.last_accessed_at, storage.trusted_setting('storage.operation'), b.policy, b.owner_id
  from jsonb_populate_record(null::storage.objects, old.object_row) o
  left join storage.buckets b on b.id = old.bucket_id
  where not exists (select from storage.objects c where c.version = old.version and c.bucket_id = old.bucket_id);
  return null;
end $$;

create or replace trigger strongroom_emit_purged after delete on storage.object_versions
  for each row when (old.kind = 'trash') execute function storage.emit_purge();

-- In place of what was called before.
drop function if exists storage.walk_trash(text, text, text, bigint, integer);

revoke execute on function
  storage.owns_trash(text, text, text),
  storage.may_have_trash(storage.object_versions, text, text),
  storage.walk_trash(text, text, text, text, bigint, integer),
  storage.see_trash(storage.object_versions[], text, text, text, text),
  storage.list_trash_as(text, text, text, text, text, bigint, integer, text),
  storage.find_trash(uuid, text, text, text),
  storage.restore_trash(uuid, text, text, text, boolean, text),
  storage.delete_trash(uuid, text),
  storage.empty_trash(text, integer, integer, text),
  storage.emit_purge()
from public, anon, authenticated, service_role;

grant execute on function
  storage.owns_trash(text, text, text),
  storage.may_have_trash(storage.object_versions, text, text),
  storage.walk_trash(text, text, text, text, bigint, integer),
  storage.see_trash(storage.object_versions[], text, text, text, text),
  storage.list_trash_as(text, text, text, text, text, bigint, integer, text),
  storage.find_trash(uuid, text, text, text),
  storage.restore_trash(uuid, text, text, text, boolean, text),
  storage.delete_trash(uuid, text),
  storage.empty_trash(text, integer, integer, text)
to service_role, strongroom_server;
