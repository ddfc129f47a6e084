-- Policies asked about many rows at once that are no longer in storage.objects (decision 0070). To put each back, ask and take it
-- back again, as `may_have` does, takes a subtransaction and a write for each, and what is listed may be a thousand.

-- What the policies for SELECT ('r') or DELETE ('d') of objects say to a role: a condition of a row that is called `objects`, with
-- parameters for its bucket: $3 is the id, $4 the policy, $5 the owner. Null where that hangs on more than the row and what nobody
-- changes by putting it back: then it has to be tried. So it is with functions that are not known here, which may look for the row;
-- with views, for the same reason; and with other tables, where triggers of the user's may write them.
create or replace function storage.condition_of(role_name text, command "char") returns text
  language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  known constant oid[] := array(
    select to_regprocedure(f)::oid from unnest(array[
      'auth.uid()', 'auth.jwt()', 'auth.role()', 'auth.email()', 'storage.foldername(text)', 'storage.filename(text)',
      'storage.extension(text)', 'storage.operation()', 'storage.allow_any_operation(text[])', 'storage.allow_only_operation(text)'
    ]) f where to_regprocedure(f) is not null);
  -- Of such triggers nobody knows what they do; ours write no table that a policy reads.
  has_triggers constant boolean := exists (
    select from pg_trigger t join pg_proc f on f.oid = t.tgfoid
    where t.tgrelid = 'storage.objects'::regclass and not t.tgisinternal and f.pronamespace <> 'storage'::regnamespace);
  -- By the catalog, since nobody looks into its schema.
  rules constant oid := (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'strongroom' and c.relname = 'bucket_rules');
  condition text;
  is_known boolean;
begin
  if exists (
    select from pg_class c, pg_roles r
    where c.oid = 'storage.objects'::regclass and r.rolname = role_name
      and (not c.relrowsecurity or r.rolbypassrls or r.rolsuper or pg_has_role(r.oid, c.relowner, 'usage'))
  ) then
    return null;
  end if;

  with recursive asked as (
    select p.oid, p.polpermissive, '(' || case when p.polname like 'strongroom: %'
        then replace(pg_get_expr(p.polqual, p.polrelid), 'strongroom.bucket_rules',
          '(select $3 as id, $4 as policy, $5 as owner_id)')
        else pg_get_expr(p.polqual, p.polrelid)
      end || ')' as condition
    from pg_policy p
    where p.polrelid = 'storage.objects'::regclass and p.polcmd in (command, '*') and exists (
      select from unnest(p.polroles) g where g = 0 or pg_has_role(role_name, g, 'usage'))
  ), used as (
    select d.refclassid, d.refobjid, d.refobjsubid
    from asked a join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = a.oid
    union
    -- What the policies of the tables use that they read.
    select d.refclassid, d.refobjid, d.refobjsubid
    from used u
    join pg_policy p on u.refclassid = 'pg_class'::regclass and p.polrelid = u.refobjid
      and u.refobjid <> 'storage.objects'::regclass
    join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.oid
  )
  select
    (select coalesce('(' || string_agg(format('coalesce(%s, false)', a.condition), ' or ') filter (where a.polpermissive) || ')', 'false')
      || coalesce(' and ' || string_agg(format('coalesce(%s, false)', a.condition), ' and ') filter (where not a.polpermissive), '')
      from asked a),
    (select coalesce(bool_and(coalesce(case
      when u.refclassid = 'pg_proc'::regclass then u.refobjid = any (known)
      when u.refclassid = 'pg_type'::regclass then exists (select from pg_type t where t.oid = u.refobjid and t.typtype = 'e')
      when u.refclassid <> 'pg_class'::regclass then false
      when u.refobjid = 'storage.objects'::regclass then u.refobjsubid >= 0 and not exists (
        select from pg_attribute a where a.attrelid = u.refobjid and a.attnum = u.refobjsubid and a.attgenerated <> '')
      when u.refobjid = rules then true
      else not has_triggers and exists (
        select from pg_class c
        where c.oid = u.refobjid and c.relkind in ('r', 'p') and (c.relnamespace <> 'storage'::regnamespace or c.relname = 'buckets'))
    end, false)), true) from used u)
  into condition, is_known;
  -- The row as a whole has columns that are made when it is written, and is no dependency.
  return case when is_known and position('objects.*' in condition) = 0 then condition end;
end $$;

-- Whether such a condition holds of each of these rows of one bucket, as `may_have` would say of each alone: for a caller who
-- sees what has its name now, of that with what policies may look at of the row; where nothing has it, or with `are_alone`, of the
-- row itself. Null where that cannot be told in this way, such as where a policy reads what is in a schema that the caller may not
-- look into.
create or replace function storage.hold_at_once(items storage.objects[], are_alone boolean, condition text, context text)
  returns boolean[] language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  seen jsonb;
  item storage.objects;
  live storage.objects;
  rows storage.objects[];
  is_hidden boolean[];
  answers boolean[];
  bucket record;
begin
  if condition is null then
    return null;
  end if;
  perform storage.act_as(context);
  if not are_alone then
    select coalesce(jsonb_object_agg(o.name, true), '{}') into seen from storage.objects o
    where o.bucket_id = (items[1]).bucket_id and o.name = any (array(select distinct i.name from unnest(items) i));
  end if;
  perform set_config('role', 'service_role', true);
  select b.id, b.policy, b.owner_id into bucket from storage.buckets b where b.id = (items[1]).bucket_id;
  for n in 1 .. cardinality(items) loop
    item := items[n];
    if not are_alone then
      select o.* into live from storage.objects o where o.bucket_id = item.bucket_id and o.name = item.name;
    end if;
    is_hidden[n] := live.id is not null and not seen ? item.name;
    if live.id is null then
      item.tags := coalesce(item.tags, '{}');
      if exists (select from storage.objects o where o.id = item.id) then
        item.id := gen_random_uuid();
      end if;
      rows[n] := item;
      continue;
    end if;
    if live.version is distinct from item.version and item.is_delete_marker is not true then
      live.owner := item.owner;
      live.owner_id := item.owner_id;
      live.metadata := item.metadata;
      live.user_metadata := item.user_metadata;
      live.tags := coalesce(item.tags, '{}');
      live.created_at := item.created_at;
      live.updated_at := item.updated_at;
      live.last_accessed_at := item.last_accessed_at;
    end if;
    rows[n] := live;
  end loop;
  perform set_config('role', storage.role_of(context), true);
  execute 'select array_agg(coalesce(' || condition || ', false) and not ($2)[ordinality] order by ordinality)
    from unnest($1) with ordinality objects' into answers using rows, is_hidden, bucket.id, bucket.policy, bucket.owner_id;
  perform set_config('role', 'service_role', true);
  return answers;
exception when others then
  -- Each is tried then, and says itself what is wrong.
  return null;
end $$;

revoke execute on function
  storage.condition_of(text, "char"),
  storage.hold_at_once(storage.objects[], boolean, text, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.condition_of(text, "char"),
  storage.hold_at_once(storage.objects[], boolean, text, text)
to service_role, strongroom_server;
