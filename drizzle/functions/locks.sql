-- Locks (decisions 0070, 0071): what keeps a version from being removed, besides the days of its bucket. They are put on by
-- whoever may change the object, and nobody takes one off but who owns the database.

-- Since when a version is the current one; of a row that is from before that was noted, since its last change.
create or replace function storage.since_of(object storage.objects) returns timestamptz
  language sql stable return coalesce((object).current_since, (object).updated_at, (object).created_at);

-- Plain SQL may have given a row any version: null then.
create or replace function storage.version_uuid(version text) returns uuid
  language sql immutable return case
    when version ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then version::uuid end;

-- One version of a name, found as by `read_version`; if `wanted` is null, what the name has now, be it a marker.
create or replace function storage.find_lockable(bucket text, object text, wanted text) returns storage.objects
  language plpgsql stable as $$
declare
  item storage.objects;
  before storage.object_versions;
begin
  select o.* into item from storage.objects o where o.bucket_id = bucket and o.name = object;
  if item.id is not null and coalesce(case
      when wanted is null then true
      when wanted = 'null' then item.is_versioned is not true
      when wanted like '#%' then coalesce(item.version_number, 1) = substr(wanted, 2)::integer
      else item.version = wanted
    end, false)
  then
    return item;
  end if;
  select v.* into before from storage.object_versions v
  where v.bucket_id = bucket and v.name = object and v.kind <> 'trash' and case
      when wanted is null then true
      when wanted = 'null' then not v.is_versioned
      when wanted like '#%' then v.version_number = substr(wanted, 2)::integer
      else v.version = wanted
    end
  order by v.sequence desc limit 1;
  if not found or (wanted is null and before.kind <> 'delete_marker') then
    return null;
  end if;
  return storage.as_object(before);
end $$;

-- Locks a version, as far as it is not already: until a moment, or by a hold, or both; null leaves it. Whoever is about to remove
-- it waits, and finds the lock. Fails with SR005 for what cannot be a lock, and with SR006 for what would be a shorter one.
create or replace function storage.write_lock(locked uuid, until timestamptz, hold boolean) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  is_there boolean;
  known storage.object_locks;
begin
  perform from storage.objects o join storage.buckets b on b.id = o.bucket_id
  where o.version = locked::text and b.object_lock for key share of o;
  is_there := found;
  perform from storage.object_versions v join storage.buckets b on b.id = v.bucket_id
  where v.version = locked::text and v.kind = 'version' and b.object_lock for key share of v;
  if not (is_there or found) then
    raise exception 'versions of this bucket cannot be locked: it has no object_lock' using errcode = 'SR005';
  end if;
  if until is not null or hold then
    insert into storage.object_locks (version) values (locked) on conflict do nothing;
  end if;
  select l.* into known from storage.object_locks l where l.version = locked for update;
  if until is distinct from known.retain_until then
    if until <= clock_timestamp() or until > clock_timestamp() + interval '36500 days' then
      raise exception 'retain_until must be in the future, and at most 36500 days from now' using errcode = 'SR005';
    end if;
    if until < known.retain_until then
      raise exception 'version % is locked until %, and that only grows', locked, known.retain_until using errcode = 'SR006';
    end if;
  end if;
  if known.legal_hold and not hold then
    raise exception 'version % is held: only an operator takes that off, by strongroom lock lift', locked using errcode = 'SR006';
  end if;
  update storage.object_locks l
  set retain_until = coalesce(until, l.retain_until), legal_hold = coalesce(hold, l.legal_hold), lifted_at = null
  where l.version = locked and (until is not null or hold);
end $$;

-- Tells how a version is locked, found as by `find_lockable`, after it has been locked as `write_lock` does, if anything is given.
-- `outcome` is 'marker' of what has no bytes to lock, and 'there' when the caller may see and not change it; no row when there is
-- none, or not for him. A lock is put on by whoever may change the object.
create or replace function storage.set_lock(
  bucket text, object text, wanted text, new_retain_until timestamptz, new_legal_hold boolean, context text
) returns table (
  outcome text, id uuid, version text, retain_until timestamptz, legal_hold boolean, locked_until timestamptz, can_be_locked boolean
) language plpgsql as $$
declare
  item storage.objects;
  is_asked_for constant boolean := new_retain_until is not null or new_legal_hold is not null;
begin
  perform set_config('role', 'service_role', true);
  item := storage.find_lockable(bucket, object, wanted);
  if item.id is null then
    return;
  end if;
  id := item.id;
  version := item.version;
  if not storage.may_have(item, case when is_asked_for then 'change' else 'see' end, context) then
    if is_asked_for and storage.may_have(item, 'see', context) then
      outcome := 'there';
      return next;
    end if;
    return;
  end if;
  perform set_config('role', 'service_role', true);
  if item.is_delete_marker then
    outcome := 'marker';
    return next;
    return;
  end if;
  if is_asked_for then
    perform storage.write_lock(storage.version_uuid(item.version), new_retain_until, new_legal_hold);
  end if;
  outcome := 'told';
  select b.object_lock, coalesce(l.legal_hold, false) and b.object_lock, l.retain_until,
    case when b.object_lock and l.lifted_at is null
      then greatest(l.retain_until, storage.since_of(item) + make_interval(hours => 24 * b.retention_days)) end
  into can_be_locked, legal_hold, retain_until, locked_until
  from storage.buckets b left join storage.object_locks l on l.version = storage.version_uuid(item.version)
  where b.id = bucket;
  return next;
  -- What triggers do at the end of the transaction they do as the caller.
  perform set_config('role', storage.role_of(context), true);
end $$;

-- The operator's way: from now on nothing locks this version, neither a moment or a hold of its own nor the days of its bucket, until
-- it is locked anew. Nobody is granted this; it is in the audit log, with the reason, in the same transaction.
create or replace function storage.lift_lock(bucket text, object text, wanted text, why text) returns table (
  version text, retain_until timestamptz, legal_hold boolean, locked_until timestamptz
) language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  item constant storage.objects := storage.find_lockable(bucket, object, wanted);
begin
  if item.id is null or item.is_delete_marker then
    raise exception 'there is no such version of %/%', bucket, object using errcode = 'no_data_found';
  end if;
  if coalesce(why, '') = '' then
    raise exception 'say why' using errcode = 'invalid_parameter_value';
  end if;
  if storage.lock_of(bucket, item.version, storage.since_of(item)) is null then
    raise exception 'version % is not locked', item.version using errcode = 'no_data_found';
  end if;
  return query
    select item.version, l.retain_until, coalesce(l.legal_hold, false),
      greatest(l.retain_until, storage.since_of(item) + make_interval(hours => 24 * b.retention_days))
    from storage.buckets b left join storage.object_locks l on l.version = storage.version_uuid(item.version)
    where b.id = bucket;
  insert into storage.object_locks as l (version, lifted_at) values (storage.version_uuid(item.version), now())
  on conflict on constraint object_locks_pkey do update set retain_until = null, legal_hold = false, lifted_at = now();
  perform storage.write_audit('{}', json_build_array(json_build_object(
    'at', clock_timestamp(), 'id', gen_random_uuid(), 'action', 'unlock', 'resource_type', 'object', 'resource_id', item.version,
    'user_id', session_user, 'file_id', item.id, 'bucket', bucket, 'path', object, 'target', why, 'allowed', true, 'status', 200,
    'via', 'database', 'repeated', 0)));
end $$;

-- Forgets locks that have had their time, of versions that nothing names any more.
create or replace function storage.drop_spent_locks(most integer) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from storage.object_locks l where l.version in (
    select s.version from storage.object_locks s
    where not s.legal_hold and coalesce(s.retain_until, now()) <= now()
      and not exists (select from storage.objects o where o.version = s.version::text)
      and not exists (select from storage.object_versions v where v.version = s.version::text)
    limit most
  )
$$;

-- Whether any of the next rows of a bucket is locked, at most so many: of its objects, or of what is there no more, the trash
-- too; as `lock_of` says of each, without asking it of each. If none is, up to where it has looked; null when that was the end.
create or replace function storage.any_locked(
  bucket text, of_former boolean, after_name text, after_sequence bigint, most integer
) returns table (is_locked boolean, end_name text, end_sequence bigint)
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off as $$
declare
  settings record;
  item record;
  looked integer := 0;
begin
  is_locked := false;
  select make_interval(hours => 24 * b.retention_days) as days into settings
  from storage.buckets b where b.id = bucket and b.object_lock;
  if found then
    for item in
      select r.name, r.sequence,
        coalesce(l.legal_hold, false)
          or (l.lifted_at is null and coalesce(greatest(l.retain_until, r.since + settings.days) > now(), false)) as is_locked
      from (
        (
          select o.name, null::bigint as sequence, o.version, storage.since_of(o) as since
          from storage.objects o
          where not of_former and o.bucket_id = bucket and o.name collate "C" > after_name
          order by o.name collate "C" limit most
        )
        union all
        (
          select v.name, v.sequence, v.version, v.valid_from
          from storage.object_versions v
          where of_former and v.bucket_id = bucket and (v.name, v.sequence) > (after_name, after_sequence)
            and not v.is_delete_marker
          order by v.name, v.sequence limit most
        )
      ) r
      left join storage.object_locks l on l.version = storage.version_uuid(r.version)
      order by r.name collate "C", r.sequence
    loop
      looked := looked + 1;
      if item.is_locked then
        is_locked := true;
        exit;
      end if;
    end loop;
    if looked = most and not is_locked then
      end_name := item.name;
      end_sequence := item.sequence;
    end if;
  end if;
  return next;
end $$;

-- Where the bytes of a locked version are, by what they are known to be its own, and since when it is locked: only a server changes
-- that, as when it moves them. Whoever else could would have them taken for another's, and then for nobody's.
create or replace function storage.keep_locked_bytes() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  uid uuid;
begin
  if pg_has_role(session_user, 'strongroom_server', 'member') or not (
    old.bytes_bucket is distinct from new.bytes_bucket or old.checksum is distinct from new.checksum
    or old.metadata -> 'size' is distinct from new.metadata -> 'size'
    or (old.current_since is null and new.updated_at is distinct from old.updated_at)
  ) then
    return new;
  end if;
  select b.uid into uid from storage.buckets b where b.id = old.bucket_id;
  if coalesce(old.bytes_bucket, uid) is distinct from coalesce(new.bytes_bucket, uid)
    or old.checksum is distinct from new.checksum
    or old.metadata -> 'size' is distinct from new.metadata -> 'size'
    or storage.since_of(new) < storage.since_of(old)
  then
    perform storage.refuse_locked(old.bucket_id, old.version, storage.since_of(old));
  end if;
  return new;
end $$;

create or replace trigger strongroom_keep_locked_bytes before update on storage.objects
  for each row when (old.version = new.version) execute function storage.keep_locked_bytes();

revoke execute on function
  storage.version_uuid(text),
  storage.since_of(storage.objects),
  storage.find_lockable(text, text, text),
  storage.write_lock(uuid, timestamptz, boolean),
  storage.set_lock(text, text, text, timestamptz, boolean, text),
  storage.lift_lock(text, text, text, text),
  storage.drop_spent_locks(integer),
  storage.any_locked(text, boolean, text, bigint, integer)
from public, anon, authenticated, service_role;

grant execute on function
  storage.version_uuid(text),
  storage.since_of(storage.objects),
  storage.find_lockable(text, text, text),
  storage.write_lock(uuid, timestamptz, boolean),
  storage.set_lock(text, text, text, timestamptz, boolean, text),
  storage.drop_spent_locks(integer),
  storage.any_locked(text, boolean, text, bigint, integer)
to service_role, strongroom_server;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function storage.keep_locked_bytes() from public, anon, authenticated, service_role;
