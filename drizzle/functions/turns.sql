-- Who does what only one server at a time does, such as the cleanup, or a request with a resumable upload (decision 0025).
-- A turn lasts as long as its session unless it is given back; after a crash of PostgreSQL no session is left, and an
-- unlogged table is empty.

-- When another login's session began is not told to everybody; then its pid and login have to do.
create or replace function strongroom.is_connected(pid integer, login oid, started timestamptz) returns boolean
  language sql volatile set search_path = pg_catalog, pg_temp as $$
  select exists (
    select from pg_stat_get_activity(is_connected.pid) a
    where a.usesysid = is_connected.login and coalesce(a.backend_start = is_connected.started, true)
  )
$$;

-- Whether the session that took a turn is still there, and still the one that took it. A pooler that keeps sessions gives
-- one to the next client when a client has left (decision 0029). Such a session of ours has an advisory lock of a number
-- that nobody else has had, and says which in strongroom.session; the pooler takes both away before it passes the session
-- on. Somebody else may take the same lock, but not as the process that has the turn.
create or replace function strongroom.has_session(turn strongroom.turns) returns boolean
  language sql volatile set search_path = pg_catalog, pg_temp as $$
  select strongroom.is_connected(turn.pid, turn.login, turn.started) and (
    turn.session_lock is null or exists (
      select from pg_locks l
      where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.pid = turn.pid
        and (l.classid::bigint << 32 | l.objid::bigint) = turn.session_lock
    )
  )
$$;

-- Takes a turn for this session, or says that another has it. Who waits, and asks again until its turn comes, is the
-- next to get it: whoever does not wait is refused until then.
create or replace function storage.take_turn(turn text, waits boolean default false) returns boolean
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
    where t.name in (turn, next_turn) and t.pid <> pg_backend_pid() and strongroom.has_session(t)
  ) then
    return false;
  end if;
  -- PostgreSQL shows a transaction the sessions as they were when it first looked. Whoever got this turn since then may
  -- have come later.
  perform pg_stat_clear_snapshot();
  insert into strongroom.turns as t (name, pid, login, started, session_lock)
  values (
    turn, pg_backend_pid(), (select r.oid from pg_roles r where r.rolname = session_user), started,
    nullif(current_setting('strongroom.session', true), '')::bigint
  )
  on conflict (name) do update
    set pid = excluded.pid, login = excluded.login, started = excluded.started, session_lock = excluded.session_lock
    where t.pid = pg_backend_pid() or not strongroom.has_session(t);
  if not found then
    return false;
  end if;
  if waits then
    perform storage.end_turn(next_turn);
  end if;
  return true;
end $$;

-- Gives one back; one that the session has not is left alone.
create or replace function storage.end_turn(turn text) returns void
  language sql volatile set search_path = pg_catalog, pg_temp as $$
  delete from strongroom.turns t where t.name = turn and t.pid = pg_backend_pid()
$$;

-- Forgets turns whose session has ended, and says how many. One that was taken meanwhile is not what was found.
create or replace function storage.forget_turns() returns bigint
  language sql volatile set search_path = pg_catalog, pg_temp as $$
  with ended as materialized (
    select t.name, t.pid, t.started, t.session_lock from strongroom.turns t where not strongroom.has_session(t)
  ),
  forgotten as (
    delete from strongroom.turns t using ended e
    where t.name = e.name and t.pid = e.pid and t.started is not distinct from e.started
      and t.session_lock is not distinct from e.session_lock
    returning 1
  )
  select count(*) from forgotten
$$;

-- service_role is a caller's role too, and has no part in these.
revoke execute on function
  strongroom.is_connected(integer, oid, timestamptz),
  strongroom.has_session(strongroom.turns),
  storage.take_turn(text, boolean),
  storage.end_turn(text),
  storage.forget_turns()
from public, anon, authenticated, service_role;

grant execute on function
  strongroom.is_connected(integer, oid, timestamptz),
  strongroom.has_session(strongroom.turns),
  storage.take_turn(text, boolean),
  storage.end_turn(text),
  storage.forget_turns()
to strongroom_server;
