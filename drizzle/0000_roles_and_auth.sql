-- Roles and the auth.* functions that policies call (contract §7.4, §7.5). All of it only where missing,
-- so that a database which already has them (Supabase's own, or another service's) keeps its own.

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('anon', 'nologin noinherit'),
      ('authenticated', 'nologin noinherit'),
      ('service_role', 'nologin noinherit bypassrls'),
      -- What the server logs in as, or is a member of: it may become the three above and owns nothing.
      ('strongroom_server', 'nologin')
    ) as r (name, attributes)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
      begin
        execute format('create role %I %s', wanted.name, wanted.attributes);
      exception
        -- Roles belong to the whole cluster: another database's migration may have been faster.
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
          raise exception 'the login % may not create the role %', current_user, wanted.name
            using errcode = '42501', hint = 'Run `strongroom migrate` once with DATABASE_URL naming a superuser.';
      end;
    end if;
  end loop;
end $$;
--> statement-breakpoint
do $$
declare
  grantee text;
  member text;
begin
  foreach grantee in array array['strongroom_server', current_user::text] loop
    foreach member in array array['anon', 'authenticated', 'service_role'] loop
      if not pg_has_role(grantee, member, 'member') then
        begin
          execute format('grant %I to %I', member, grantee);
        exception when unique_violation then null; -- another database's migration, at this moment
        end;
      end if;
    end loop;
  end loop;
  if not pg_has_role(current_user, 'strongroom_server', 'member') then
    execute format('grant strongroom_server to %I', current_user);
  end if;
end $$;
--> statement-breakpoint
create schema if not exists storage;
--> statement-breakpoint
create schema if not exists auth;
--> statement-breakpoint
grant usage on schema storage, auth to anon, authenticated, service_role, strongroom_server;
--> statement-breakpoint
-- A claim that PostgREST-style settings carry singly, or inside request.jwt.claims.
do $$
begin
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable as $f$
      select nullif(current_setting('request.jwt.claims', true), '')::jsonb
    $f$;
  end if;
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as $f$
      select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
      )::uuid
    $f$;
  end if;
  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text language sql stable as $f$
      select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
      )
    $f$;
  end if;
  if to_regprocedure('auth.email()') is null then
    create function auth.email() returns text language sql stable as $f$
      select coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
      )
    $f$;
  end if;
end $$;
