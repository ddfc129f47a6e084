-- Small uploads that wait for a connection at the same moment, in one transaction (decision 0056).

-- Stores objects with their bytes, each as put_object_version does and as its own caller, in a block of its own: what fails is undone
-- without the others. For a session whose statements end after 20 ms, and that this function alone uses.
--
-- Tells by `puts` what put_object_version says of each item, and null of one that is left for a call of its own. Nothing is there of
-- these: what fails (so that only put_object_version itself ever says why), what takes long, and what comes behind it. `slowest` is the
-- place of the one that took the longest, when it was too long for a group. Null, and nothing is done, where users' triggers
-- may count on a transaction of their own.
--
-- The same is kept in the session as `strongroom.told`, with the version of the first item as `group`: PostgreSQL may tell
-- behind a commit that the statement's time was up, and this setting is there only if it has committed.
--
-- The bytes stand one behind the other. Whoever calls has put the items into one order, so that groups do not wait for each
-- other in a circle.
create or replace function storage.put_objects(items text, all_bytes bytea) returns json
language plpgsql as $$
declare
  began constant timestamptz := clock_timestamp();
  usual_user constant name := current_user;
  usual_role constant text := current_setting('role');
  done text;
  item record;
  put json;
  puts json[] := '[0:0]={null}';
  first_version uuid;
  reached integer := 0;
  first_byte integer := 1;
  item_began timestamptz;
  took interval;
  longest interval := '0';
  slowest integer := 0;
  is_late boolean := false;
begin
  -- A trigger of users may count on a transaction that is about one upload, such as by a temporary table, or wait for its end.
  if exists (
    select from pg_catalog.pg_trigger t
    where t.tgrelid in (
        'storage.objects'::regclass, 'storage.inline_bytes'::regclass, 'storage.events'::regclass, 'storage.removals'::regclass)
      and t.tgtype & 20 <> 0 and t.tgenabled <> 'D' -- 4: insert, 16: update
      and (t.tgdeferrable or not t.tgisinternal and t.tgname not like 'strongroom\_%')
      -- Supabase's own, which is ours by another name.
      and t.tgfoid is distinct from to_regproc('storage.update_updated_at_column')::oid
  ) then
    return null;
  end if;

  reset all; -- what the group before has told is nobody's business
  for item in
    select * from json_to_recordset(items::json) as i (
      bucket text, uid uuid, mark text, name text, id uuid, version uuid, owner uuid, owner_id text, metadata jsonb,
      user_metadata jsonb, checksum text, tags text[], size integer, upsert boolean, attributes jsonb,
      context text)
  loop
    item_began := clock_timestamp();
    is_late := item_began - began > interval '12 ms';
    -- Where the login is a superuser, a policy may have become another login; then all that comes behind is left.
    exit when is_late or current_user <> usual_user;
    first_version := coalesce(first_version, item.version);
    put := null;
    begin
      put := to_json(storage.put_object_version(item.bucket, item.uid, item.mark, item.name, item.id, item.version, item.owner,
        item.owner_id, item.metadata, item.user_metadata, item.checksum, item.tags,
        substring(all_bytes from first_byte for item.size), null, item.upsert, item.attributes, item.context));
      -- What a policy's writes have left for the end of the transaction, it is done as this caller.
      set constraints all immediate;
    exception
      when query_canceled then
        put := null;
        is_late := true; -- nothing ends the statement a second time
      when others or assert_failure then
        put := null;
    end;
    took := clock_timestamp() - item_began;
    if took > longest then
      longest := took;
      slowest := reached;
    end if;
    exit when is_late;
    if put is not null then
      puts[reached] := put;
      -- Nothing of one caller reaches the next: a failure takes it back, and this what a policy has set, by whatever name.
      done := set_config('role', usual_role, false);
      reset all;
    end if;
    reached := reached + 1;
    first_byte := first_byte + item.size;
  end loop;

  put := json_build_object(
    'group', first_version,
    'puts', array_to_json(puts),
    'slowest', case when is_late and (reached < 4 or longest > interval '8 ms') then slowest end);
  done := set_config('strongroom.told', put::text, false);
  return put;
end $$;

revoke execute on function storage.put_objects(text, bytea) from public, anon, authenticated, service_role;
grant execute on function storage.put_objects(text, bytea) to strongroom_server;
