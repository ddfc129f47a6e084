-- What subscribers and sinks need to know of an event, and the order in which they get it (decision 0017).

alter table storage.events
  -- Survives moves and overwrites. Of a bucket's events its uid: another may come to have its name.
  add column object_id uuid,
  -- What the caller was doing, such as storage.object.copy; null for plain SQL.
  add column operation text,
  -- Of an update the version before it: whether the bytes are new, or only what is said of them.
  add column old_version text,
  -- The rest of the object's row: of the new one, or of a deletion the last one.
  add column owner uuid,
  add column metadata jsonb,
  add column user_metadata jsonb,
  add column object_created_at timestamptz,
  add column object_updated_at timestamptz,
  add column object_accessed_at timestamptz,
  -- Who could read the bucket when it happened: later there may be no row left to ask the policies about.
  add column bucket_policy text,
  add column bucket_owner_id text,
  -- The same of the place that a move has left.
  add column old_owner_id text,
  add column old_bucket_policy text,
  add column old_bucket_owner_id text;
--> statement-breakpoint
create index events_transaction on storage.events (transaction);
--> statement-breakpoint
create or replace function storage.emit_object_event() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  object storage.objects := case when tg_op = 'DELETE' then old else new end;
  has_moved boolean := tg_op = 'UPDATE' and (old.bucket_id, old.name) is distinct from (new.bucket_id, new.name);
  rules record;
  old_rules record;
begin
  select b.policy, b.owner_id into rules from storage.buckets b where b.id = object.bucket_id;
  old_rules := rules;
  if has_moved and old.bucket_id is distinct from new.bucket_id then
    select b.policy, b.owner_id into old_rules from storage.buckets b where b.id = old.bucket_id;
  end if;
  insert into storage.events (
    type, bucket_id, name, version, size, content_type, checksum, owner_id,
    object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
    operation, bucket_policy, bucket_owner_id, old_version,
    old_bucket_id, old_name, old_owner_id, old_bucket_policy, old_bucket_owner_id
  ) values (
    case tg_op
      when 'INSERT' then 'storage.object.created'
      when 'UPDATE' then 'storage.object.updated'
      else 'storage.object.deleted'
    end,
    object.bucket_id, object.name, object.version,
    storage.size_of(object.metadata), object.metadata ->> 'mimetype', object.checksum, object.owner_id,
    object.id, object.owner, object.metadata, storage.unless_large(object.user_metadata),
    object.created_at, object.updated_at, object.last_accessed_at,
    nullif(current_setting('storage.operation', true), ''), rules.policy, rules.owner_id,
    case when tg_op = 'UPDATE' then old.version end,
    case when has_moved then old.bucket_id end, case when has_moved then old.name end,
    case when has_moved then old.owner_id end,
    case when has_moved then old_rules.policy end, case when has_moved then old_rules.owner_id end
  );
  return null;
end $$;
--> statement-breakpoint
-- In bytes; null for rows that plain SQL made without one, which may hold anything there.
create function storage.size_of(metadata jsonb) returns bigint language sql immutable as $$
  select case when jsonb_typeof(metadata -> 'size') = 'number'
    then trunc(least((metadata ->> 'size')::numeric, 9223372036854775807))::bigint end
$$;
--> statement-breakpoint
-- Up to 64 KiB: many events are in memory at once.
create function storage.unless_large(user_metadata jsonb) returns jsonb language sql immutable as $$
  select case when octet_length(user_metadata::text) <= 65536 then user_metadata end
$$;
--> statement-breakpoint
create or replace function storage.emit_bucket_event() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  bucket storage.buckets := case when tg_op = 'DELETE' then old else new end;
begin
  insert into storage.events (type, bucket_id, object_id, owner_id, operation, bucket_policy, bucket_owner_id) values (
    case tg_op when 'INSERT' then 'storage.bucket.created' else 'storage.bucket.deleted' end,
    bucket.id, bucket.uid, bucket.owner_id, nullif(current_setting('storage.operation', true), ''), bucket.policy, bucket.owner_id
  );
  return null;
end $$;
--> statement-breakpoint
-- A truncation deletes too.
create function storage.emit_truncation() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_table_name = 'objects' then
    insert into storage.events (
      type, bucket_id, name, version, size, content_type, checksum, owner_id,
      object_id, owner, metadata, user_metadata, object_created_at, object_updated_at, object_accessed_at,
      operation, bucket_policy, bucket_owner_id
    )
    select 'storage.object.deleted', o.bucket_id, o.name, o.version, storage.size_of(o.metadata),
      o.metadata ->> 'mimetype', o.checksum, o.owner_id,
      o.id, o.owner, o.metadata, storage.unless_large(o.user_metadata), o.created_at, o.updated_at, o.last_accessed_at,
      nullif(current_setting('storage.operation', true), ''), b.policy, b.owner_id
    from storage.objects o join storage.buckets b on b.id = o.bucket_id;
  else
    insert into storage.events (type, bucket_id, object_id, owner_id, operation, bucket_policy, bucket_owner_id)
    select 'storage.bucket.deleted', b.id, b.uid, b.owner_id, nullif(current_setting('storage.operation', true), ''),
      b.policy, b.owner_id
    from storage.buckets b;
  end if;
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_emit_truncation before truncate on storage.objects
  for each statement execute function storage.emit_truncation();
--> statement-breakpoint
create trigger strongroom_emit_truncation before truncate on storage.buckets
  for each statement execute function storage.emit_truncation();
--> statement-breakpoint
-- The order in which events are handed out: each gets the next position once it is committed, so that whoever has
-- read up to a position has missed nothing before it. Positions have no gaps.
create table storage.event_order (
  position bigint primary key,
  event_id bigint not null,
  -- On the last row of each batch: the events that this snapshot sees have their positions.
  seen pg_snapshot
);
--> statement-breakpoint
alter table storage.event_order enable row level security;
--> statement-breakpoint
grant all on storage.event_order to service_role;
--> statement-breakpoint
-- What happened before anybody could subscribe. Position 0 is where the count begins, and no event.
insert into storage.event_order (position, event_id, seen)
select 0, 0, pg_current_snapshot()
union all
select row_number() over (order by e.id), e.id, case when lead(e.id) over (order by e.id) is null then pg_current_snapshot() end
from storage.events e;
--> statement-breakpoint
-- Gives positions to all committed events that have none, and returns the newest position. Tells the other servers;
-- the uploads themselves cannot, since NOTIFY makes commits wait for each other.
--
-- What is new are the events that the present snapshot sees and that of the last batch did not. Snapshots agree with
-- row locks: of two changes of one object, no snapshot sees the later one alone, and its id is the greater one. Rows
-- are only added here, and the ends of two indexes are read, so that neither a transaction left open elsewhere nor
-- rows that wait for a vacuum can slow it down.
create function storage.order_events() returns bigint
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  newest bigint;
  before pg_snapshot;
  now pg_snapshot;
  added bigint;
begin
  -- One server at a time: positions appear in their order. Each statement below sees what was committed until then.
  perform pg_advisory_xact_lock(1601335157);
  select o.position, o.seen into newest, before from storage.event_order o order by o.position desc limit 1;
  now := pg_current_snapshot();
  if pg_snapshot_xmax(before) > pg_snapshot_xmax(now) then
    -- The rows came here from another cluster, where transactions had other numbers.
    update storage.events e set transaction = case
      when exists (select from storage.event_order o where o.event_id = e.id) then '3'
      else pg_current_xact_id()
    end;
    update storage.event_order o set seen = '4:4:' where o.position = newest;
    return newest; -- the next call goes on
  end if;
  with fresh as (
    select e.id, row_number() over (order by e.id) as place
    from (
      select f.id from storage.events f
      where (f.transaction >= pg_snapshot_xmax(before) or f.transaction = any (array(select pg_snapshot_xip(before))))
        and pg_visible_in_snapshot(f.transaction, now)
    ) e
  )
  insert into storage.event_order (position, event_id, seen)
  select newest + f.place, f.id, case when f.place = (select count(*) from fresh) then now end
  from fresh f;
  get diagnostics added = row_count;
  if added > 0 then
    perform pg_notify('strongroom_events', (newest + added)::text);
  end if;
  return newest + added;
end $$;
--> statement-breakpoint
create function storage.rule_reads(
  signed_in boolean, caller text, bucket_policy text, bucket_owner text, object_owner text
) returns boolean language sql immutable as $$
  select bucket_policy = 'public'
    or (signed_in and (bucket_policy = 'authenticated' or bucket_owner = caller or object_owner = caller))
$$;
--> statement-breakpoint
-- Whether the built-in policies alone decide what a role may select from a table, as far as they show it: one of them
-- is for the role, and no restrictive policy is, which may hide what they show.
create function storage.rules_decide(role text, target regclass) returns boolean language sql stable as $$
  with policies as (
    select p.polname, p.polpermissive from pg_catalog.pg_policy p
    where p.polrelid = target and p.polcmd in ('r', '*')
      and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(role, r, 'usage'))
  )
  select exists (select from policies where polname like 'strongroom: %')
    and not exists (select from policies where not polpermissive)
$$;
--> statement-breakpoint
-- Whether a caller could read what is not there any more, by its bucket's policy or as its owner: policies can only be
-- asked about rows that are there. `past` is how it was when it happened; if there still is such a bucket, its present
-- policy has to agree, so that nothing comes to light by an old event.
create function storage.could_read(
  bypasses_rls boolean, by_rules boolean, signed_in boolean, caller text,
  bucket text, past_policy text, past_bucket_owner text, object_owner text
) returns boolean language sql stable as $$
  select bypasses_rls or (
    (
      coalesce(signed_in and object_owner = caller, false)
      or (by_rules and coalesce(storage.rule_reads(signed_in, caller, past_policy, past_bucket_owner, object_owner), false))
    )
    and not exists (
      select from storage.buckets b
      where b.id = bucket and storage.rule_reads(signed_in, caller, b.policy, b.owner_id, object_owner) is not true
    )
  )
$$;
--> statement-breakpoint
-- Which of these events a caller may hear of. `sees`: what it is about, where it is now. `saw`: the place that a move
-- has left. Answers about an object come from the policies on its row as it stands, if it is still that object at that
-- place; else from storage.could_read.
create function storage.readable_events(
  positions bigint[],
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (event_position bigint, sees boolean, saw boolean) language plpgsql as $$
declare
  asked bigint[];
  object_ids uuid[];
  buckets text[];
  names text[];
  visible bigint[];
  bypasses_rls boolean := (select r.rolbypassrls or r.rolsuper from pg_catalog.pg_roles r where r.rolname = role);
  signed_in boolean := pg_has_role(role, 'authenticated', 'usage');
  caller text := claims::jsonb ->> 'sub';
  by_rules boolean := storage.rules_decide(role, 'storage.objects');
  bucket_by_rules boolean := storage.rules_decide(role, 'storage.buckets');
begin
  perform set_config('role', 'service_role', true);
  select array_agg(o.position), array_agg(e.object_id), array_agg(e.bucket_id), array_agg(e.name)
  into asked, object_ids, buckets, names
  from storage.event_order o join storage.events e on e.id = o.event_id
  where o.position = any (positions) and e.type not like '%.deleted';

  perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
  visible := array(
    select a.position from unnest(asked, object_ids, buckets, names) as a (position, object_id, bucket, name)
    join storage.objects o on o.id = a.object_id
    where o.bucket_id = a.bucket and o.name = a.name
    union all
    select a.position from unnest(asked, object_ids, buckets, names) as a (position, uid, bucket, name)
    join storage.buckets b on b.id = a.bucket
    where a.name is null and b.uid = a.uid
  );

  perform set_config('role', 'service_role', true);
  return query
    select o.position, s.sees,
      -- Who still owns a moved object and may not see it there has lost nothing: to him it is no deletion.
      e.old_name is not null and storage.could_read(
        bypasses_rls, by_rules, signed_in, caller, e.old_bucket_id, e.old_bucket_policy, e.old_bucket_owner_id,
        case when s.sees or e.owner_id is distinct from caller then e.old_owner_id end)
    from storage.event_order o join storage.events e on e.id = o.event_id,
    lateral (
      select case
        when o.position = any (visible) then true
        -- Still there, and the policies hide it.
        when e.type not like '%.deleted' and case
          when e.name is null then exists (select from storage.buckets b where b.id = e.bucket_id and b.uid = e.object_id)
          else exists (
            select from storage.objects c where c.id = e.object_id and c.bucket_id = e.bucket_id and c.name = e.name)
        end then false
        else storage.could_read(
          bypasses_rls, case when e.name is null then bucket_by_rules else by_rules end, signed_in, caller,
          e.bucket_id, e.bucket_policy, e.bucket_owner_id, e.owner_id)
      end as sees
    ) s
    where o.position = any (positions);
end $$;
--> statement-breakpoint
-- The events after a position, in order. A record is the row of the object, by Supabase's columns and the checksum,
-- without those that only repeat the name.
create function storage.read_events(after bigint, most integer) returns table (
  event_position bigint, type text, bucket_id text, name text, old_bucket_id text, old_name text,
  version text, old_version text, size bigint, content_type text, checksum text, owner_id text,
  created_at timestamptz, operation text, record jsonb
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select o.position, e.type, e.bucket_id, e.name, e.old_bucket_id, e.old_name, e.version, e.old_version, e.size,
    e.content_type, e.checksum, e.owner_id, e.created_at, e.operation,
    case when e.name is not null then jsonb_build_object(
      'id', e.object_id, 'bucket_id', e.bucket_id, 'name', e.name, 'owner', e.owner, 'owner_id', e.owner_id,
      'created_at', e.object_created_at, 'updated_at', e.object_updated_at,
      'last_accessed_at', e.object_accessed_at, 'metadata', e.metadata, 'user_metadata', e.user_metadata,
      'version', e.version, 'checksum', e.checksum) end
  from storage.event_order o join storage.events e on e.id = o.event_id
  where o.position > after order by o.position limit most
$$;
--> statement-breakpoint
-- How far each sink has got, such as a webhook or a broker: up to here it has every event.
create table storage.event_sinks (
  name text primary key,
  position bigint not null
);
--> statement-breakpoint
alter table storage.event_sinks enable row level security;
--> statement-breakpoint
grant all on storage.event_sinks to service_role;
--> statement-breakpoint
revoke execute on function
  storage.emit_object_event(), storage.emit_bucket_event(), storage.emit_truncation(),
  storage.size_of(jsonb), storage.unless_large(jsonb), storage.order_events(),
  storage.rules_decide(text, regclass),
  storage.could_read(boolean, boolean, boolean, text, text, text, text, text),
  storage.rule_reads(boolean, text, text, text, text),
  storage.readable_events(bigint[], text, text, text, text, text, text, text, text, boolean),
  storage.read_events(bigint, integer)
from public;
--> statement-breakpoint
grant execute on function
  storage.order_events(), storage.read_events(bigint, integer),
  storage.rules_decide(text, regclass),
  storage.could_read(boolean, boolean, boolean, text, text, text, text, text),
  storage.rule_reads(boolean, text, text, text, text),
  storage.readable_events(bigint[], text, text, text, text, text, text, text, text, boolean)
to strongroom_server, service_role;
