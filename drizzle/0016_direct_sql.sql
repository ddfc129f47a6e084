-- What somebody can do who runs SQL of his own under a caller's role: not set what we trust, not take our turns, not
-- speak on our channel (decision 0025).

-- A setting, such as request.jwt.claims, or null when it is empty or was made up. PostgreSQL lets anybody set any name
-- with a dot in it, so a setting counts only in a session whose login may become service_role, as Strongroom's and
-- PostgREST's may: such a login could do without. Nobody can change who has logged in. The bodies here that policies
-- rely on are parsed now, so that no search_path of a caller's decides what a name in them means.
create function storage.trusted_setting(name text) returns text language sql stable
  return case when pg_has_role(session_user, 'service_role', 'member') then nullif(current_setting(name, true), '') end;
--> statement-breakpoint
alter policy "strongroom: users may create buckets" on storage.buckets
  with check (
    (select storage.trusted_setting('storage.user_buckets')) = 'true'
    and owner_id = (select auth.jwt() ->> 'sub')
  );
--> statement-breakpoint
-- The same for the functions of 0000 and 0004, where they are still ours: a database that came with its own keeps them.
-- Those of the schema auth do not lean on the schema storage, which other callers' roles may have no right to use.
do $$
declare
  ours record;
  trusted constant text := $t$pg_has_role(session_user, 'service_role', 'member')$t$;
begin
  for ours in
    select * from (values
      ('auth.jwt()', $o$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $o$, $n$
        create or replace function auth.jwt() returns jsonb language sql stable return
          case when $n$ || trusted || $n$ then nullif(current_setting('request.jwt.claims', true), '')::jsonb end $n$),
      ('auth.uid()', $o$ select coalesce( nullif(current_setting('request.jwt.claim.sub', true), ''), nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' )::uuid $o$, $n$
        create or replace function auth.uid() returns uuid language sql stable return
          case when $n$ || trusted || $n$ then coalesce(
            nullif(current_setting('request.jwt.claim.sub', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
          )::uuid end $n$),
      ('auth.role()', $o$ select coalesce( nullif(current_setting('request.jwt.claim.role', true), ''), nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role' ) $o$, $n$
        create or replace function auth.role() returns text language sql stable return
          case when $n$ || trusted || $n$ then coalesce(
            nullif(current_setting('request.jwt.claim.role', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
          ) end $n$),
      ('auth.email()', $o$ select coalesce( nullif(current_setting('request.jwt.claim.email', true), ''), nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email' ) $o$, $n$
        create or replace function auth.email() returns text language sql stable return
          case when $n$ || trusted || $n$ then coalesce(
            nullif(current_setting('request.jwt.claim.email', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
          ) end $n$),
      ('storage.foldername(text)', $o$ select case when cardinality(t) > 1 then t[:cardinality(t) - 1] else '{}' end from (select string_to_array(name, '/')) as s (t) $o$, $n$
        create or replace function storage.foldername(name text) returns text[] language sql immutable return (
          select case when cardinality(t) > 1 then t[:cardinality(t) - 1] else '{}' end
          from (select string_to_array(name, '/')) as s (t)
        ) $n$),
      ('storage.filename(text)', $o$ select reverse(split_part(reverse(name), '/', 1)) $o$, $n$
        create or replace function storage.filename(name text) returns text language sql immutable return
          reverse(split_part(reverse(name), '/', 1)) $n$),
      ('storage.extension(text)', $o$ select reverse(split_part(split_part(reverse(name), '/', 1), '.', 1)) $o$, $n$
        create or replace function storage.extension(name text) returns text language sql immutable return
          reverse(split_part(split_part(reverse(name), '/', 1), '.', 1)) $n$),
      ('storage.operation()', $o$ select nullif(current_setting('storage.operation', true), '') $o$, $n$
        create or replace function storage.operation() returns text language sql stable return
          storage.trusted_setting('storage.operation') $n$),
      ('storage.allow_any_operation(text[])', $o$ select coalesce(bool_or( regexp_replace(e, '^storage\.', '') = regexp_replace(storage.operation(), '^storage\.', '') ), false) from unnest(expected) as e where e <> '' $o$, $n$
        create or replace function storage.allow_any_operation(expected text[]) returns boolean language sql stable return (
          select coalesce(bool_or(
            regexp_replace(e, '^storage\.', '') = regexp_replace(storage.operation(), '^storage\.', '')
          ), false)
          from unnest(expected) as e
          where e <> ''
        ) $n$),
      ('storage.allow_only_operation(text)', $o$ select storage.allow_any_operation(array[expected]) $o$, $n$
        create or replace function storage.allow_only_operation(expected text) returns boolean language sql stable return
          storage.allow_any_operation(array[expected]) $n$),
      ('storage.protect_delete()', $o$ begin if coalesce(current_setting('storage.allow_delete_query', true), '') <> 'true' then raise exception 'rows of this table are deleted through the storage API' using errcode = '42501'; end if; return null; end $o$, $n$
        create or replace function storage.protect_delete() returns trigger language plpgsql
          set search_path = pg_catalog, pg_temp as $f$
        begin
          if storage.trusted_setting('storage.allow_delete_query') is distinct from 'true' then
            raise exception 'rows of this table are deleted through the storage API' using errcode = '42501';
          end if;
          return null;
        end
        $f$ $n$)
    ) as f (signature, body, definition)
  loop
    if exists (
      select from pg_catalog.pg_proc
      where oid = to_regprocedure(ours.signature) and regexp_replace(prosrc, '\s+', ' ', 'g') = ours.body
        and pg_has_role(proowner, 'usage')
    ) then
      execute ours.definition;
    end if;
  end loop;
end $$;
--> statement-breakpoint
-- An event's operation is what Strongroom was doing, and nothing else.
do $$
declare
  emitter regprocedure;
begin
  foreach emitter in array array[
    'storage.emit_object_event()', 'storage.emit_bucket_event()', 'storage.emit_truncation()'
  ]::regprocedure[] loop
    execute replace(
      pg_get_functiondef(emitter),
      $o$nullif(current_setting('storage.operation', true), '')$o$, $n$storage.trusted_setting('storage.operation')$n$
    );
  end loop;
end $$;
--> statement-breakpoint
-- These run with the rights of whoever writes, and must not run his operators.
alter function storage.keep_bucket_policy() set search_path = pg_catalog, pg_temp;
--> statement-breakpoint
alter function storage.touch_updated_at() set search_path = pg_catalog, pg_temp;
--> statement-breakpoint
-- Who does what only one server at a time does, such as the cleanup, or a request with a resumable upload. An advisory
-- lock would be anybody's to take, and pg_locks shows everybody its key. A turn lasts as long as its session unless it
-- is given back; after a crash of PostgreSQL no session is left, and an unlogged table is empty.
create unlogged table strongroom.turns (
  name text primary key,
  pid integer not null,
  login oid not null,
  -- Tells the session from a later one with the same pid. Null if PostgreSQL does not say.
  started timestamptz
);
--> statement-breakpoint
grant usage on schema strongroom to strongroom_server;
--> statement-breakpoint
grant select, insert, update, delete on strongroom.turns to strongroom_server;
--> statement-breakpoint
-- When another login's session began is not told to everybody; then its pid and login have to do.
create function strongroom.is_connected(pid integer, login oid, started timestamptz) returns boolean
  language sql volatile set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from pg_stat_get_activity(is_connected.pid) a
    where a.usesysid = is_connected.login and coalesce(a.backend_start = is_connected.started, true)
  )
$$;
--> statement-breakpoint
-- Takes a turn for this session, or says that another has it. Who waits, and asks again until its turn comes, is the
-- next to get it: whoever does not wait is refused until then.
create function storage.take_turn(turn text, waits boolean default false) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  started constant timestamptz := (select a.backend_start from pg_stat_get_activity(pg_backend_pid()) a);
  next_turn constant text := turn || ', next';
begin
  if waits and not storage.take_turn(next_turn) then
    return false;
  end if;
  if exists (
    select from strongroom.turns t
    where t.name in (turn, next_turn) and t.pid <> pg_backend_pid() and strongroom.is_connected(t.pid, t.login, t.started)
  ) then
    return false;
  end if;
  -- PostgreSQL shows a transaction the sessions as they were when it first looked. Whoever got this turn since then may
  -- have come later.
  perform pg_stat_clear_snapshot();
  insert into strongroom.turns as t (name, pid, login, started)
  values (turn, pg_backend_pid(), (select r.oid from pg_roles r where r.rolname = session_user), started)
  on conflict (name) do update set pid = excluded.pid, login = excluded.login, started = excluded.started
    where t.pid = pg_backend_pid() or not strongroom.is_connected(t.pid, t.login, t.started);
  if not found then
    return false;
  end if;
  if waits then
    perform storage.end_turn(next_turn);
  end if;
  return true;
end $$;
--> statement-breakpoint
create function storage.end_turn(turn text) returns void language sql volatile set search_path = pg_catalog, pg_temp as $$
  delete from strongroom.turns t where t.name = turn and t.pid = pg_backend_pid()
$$;
--> statement-breakpoint
-- Forgets turns whose session has ended, and says how many. One that was taken meanwhile is not what was found.
create function storage.forget_turns() returns bigint language sql volatile set search_path = pg_catalog, pg_temp as $$
  with ended as materialized (
    select t.name, t.pid, t.started from strongroom.turns t where not strongroom.is_connected(t.pid, t.login, t.started)
  ),
  forgotten as (
    delete from strongroom.turns t using ended e
    where t.name = e.name and t.pid = e.pid and t.started is not distinct from e.started
    returning 1
  )
  select count(*) from forgotten
$$;
--> statement-breakpoint
-- As before (0011), with a turn in the place of the lock.
create function storage.begin_attempt(upload uuid, lifetime_ms double precision) returns table (
  upload_length bigint, upload_offset bigint, notes text, attempt bigint
) language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r
  set attempt = r.attempt + 1, wanted_attempt = null, expires_at = now() + lifetime_ms * interval '1 millisecond'
  where r.id = upload and r.ended is null and r.expires_at > now()
    and exists (select from storage.uploads u where u.version = r.id)
  returning r.upload_length, r.upload_offset, r.notes, r.attempt
$$;
--> statement-breakpoint
create or replace function storage.lock_resumable_upload(upload uuid, taking boolean, lifetime_ms double precision) returns table (
  upload_length bigint, upload_offset bigint, notes text, attempt bigint
) language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  if not storage.take_turn('upload ' || upload) then
    return;
  end if;
  -- Nobody relies on the number after a crash of the database: it ends all turns, and whoever had one is told.
  perform set_config('synchronous_commit', 'off', true);
  if taking then
    return query select a.* from storage.begin_attempt(upload, lifetime_ms) a;
  end if;
  if not taking or not found then
    return next;
  end if;
end $$;
--> statement-breakpoint
create or replace function storage.unlock_resumable_upload(upload uuid) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  perform storage.end_turn('upload ' || upload);
  return true;
end $$;
--> statement-breakpoint
-- Has no rows: whoever gives events their order locks it, which takes a right that callers have not.
create table strongroom.ordering ();
--> statement-breakpoint
-- The channel of NOTIFY by which servers tell each other of new positions. Anybody may NOTIFY, on a channel whose name
-- he knows.
create table strongroom.channel (name text not null);
--> statement-breakpoint
insert into strongroom.channel (name) values ('strongroom_' || replace(gen_random_uuid()::text, '-', ''));
--> statement-breakpoint
create function storage.events_channel() returns text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select c.name from strongroom.channel c
$$;
--> statement-breakpoint
-- As before (0012), with that lock and on that channel.
create or replace function storage.order_events() returns bigint
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  newest bigint;
  before pg_snapshot;
  now pg_snapshot;
  added bigint;
begin
  -- One server at a time: positions appear in their order. Each statement below sees what was committed until then.
  lock table strongroom.ordering in share row exclusive mode;
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
    perform pg_notify((select c.name from strongroom.channel c), (newest + added)::text);
  end if;
  return newest + added;
end $$;
--> statement-breakpoint
revoke execute on function
  strongroom.is_connected(integer, oid, timestamptz),
  storage.take_turn(text, boolean), storage.end_turn(text), storage.forget_turns(),
  storage.begin_attempt(uuid, double precision), storage.events_channel()
from public;
--> statement-breakpoint
grant execute on function
  strongroom.is_connected(integer, oid, timestamptz),
  storage.take_turn(text, boolean), storage.end_turn(text), storage.forget_turns(),
  storage.begin_attempt(uuid, double precision), storage.events_channel()
to strongroom_server;
--> statement-breakpoint
-- It is a caller's role too, and has no part in these.
revoke execute on function
  storage.lock_resumable_upload(uuid, boolean, double precision), storage.unlock_resumable_upload(uuid),
  storage.order_events()
from service_role;
