-- How a transaction becomes a caller's, and who believes it (decisions 0025, 0040).

-- A setting, such as request.jwt.claims, or null when it is empty or was made up. PostgreSQL lets anybody set any name
-- with a dot in it, so a setting counts only in a session whose login may become service_role, as Strongroom's and
-- PostgREST's may: such a login could do without. Nobody can change who has logged in. Policies rely on it, so its body is
-- parsed now: no search_path of a caller's decides what a name in it means.
create or replace function storage.trusted_setting(name text) returns text language sql stable
  return case when pg_has_role(session_user, 'service_role', 'member') then nullif(current_setting(name, true), '') end;

-- What is said of a caller is one text, so that another field touches only who writes it (`callerContext`) and this file
-- (decision 0040): texts with the unit separator of ASCII between them, which none of them may have.
--
--   1 role   2 subject   3 claims   4 token   5 operation   6 method   7 path   8 headers   9 user_buckets
--   10 traceparent, 11 what he says of the version that he makes: neither is there where nothing is traced and nothing said
--
-- Claims and headers are JSON as it was sent. A field that an older server does not know is none, and its setting empty.
create or replace function storage.role_of(context text) returns text language sql immutable
  return split_part(context, E'\x1f', 1);

create or replace function storage.subject_of(context text) returns text language sql immutable
  return split_part(context, E'\x1f', 2);

create or replace function storage.claims_of(context text) returns jsonb language sql immutable
  return split_part(context, E'\x1f', 3)::jsonb;

-- Makes the rest of the transaction the caller's (wire §7.5), and returns its start, which `now()` will be. Every setting
-- is local to the transaction. The login must be a member of the role: PostgreSQL checks that, not we.
create or replace function storage.act_as(context text) returns timestamptz language plpgsql as $$
declare
  said constant text[] := string_to_array(context, E'\x1f');
  done integer;
begin
  -- An expression, which is evaluated at once; `perform` would take the way of a query.
  done := num_nulls(
    set_config('request.jwt.claims', said[3], true),
    set_config('request.jwt.claim.sub', said[2], true),
    set_config('request.jwt.claim.role', said[1], true),
    set_config('request.jwt', said[4], true),
    set_config('request.method', said[6], true),
    set_config('request.path', said[7], true),
    set_config('request.headers', said[8], true),
    set_config('storage.operation', said[5], true),
    set_config('storage.user_buckets', said[9], true),
    set_config('storage.allow_delete_query', 'true', true),
    set_config('search_path', 'storage, public', true),
    set_config('role', said[1], true)
  );
  -- For the events of what the caller does (0041_traces_of_events.sql).
  if cardinality(said) > 9 then
    done := num_nulls(
      set_config('storage.traceparent', said[10], true), set_config('storage.version_comment', said[11], true));
  end if;
  return now();
end $$;

-- Callers' roles never get at these: whoever may run act_as may become any role that the login may become.
revoke execute on function
  storage.role_of(text),
  storage.subject_of(text),
  storage.claims_of(text),
  storage.act_as(text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.role_of(text),
  storage.subject_of(text),
  storage.claims_of(text),
  storage.act_as(text)
to service_role, strongroom_server;
