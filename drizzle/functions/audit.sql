-- The audit log: how entries come into it, and what there is of months (docs/audit.md, decision 0062).

-- Makes the part for the month of a moment, if there is none. What is made first and attached then keeps nobody from reading
-- or writing the others, as `create table … partition of` would.
create or replace function storage.make_audit_month(moment timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  start constant timestamptz := date_trunc('month', moment, 'UTC');
  part constant text := 'audit_log_' || to_char(start at time zone 'UTC', 'YYYY_MM');
begin
  if to_regclass('strongroom.' || part) is not null then
    return;
  end if;
  -- One server at a time; whoever comes second finds it, by a question that knows what has been committed meanwhile.
  perform pg_advisory_xact_lock(hashtextextended('storage.audit_log', 0));
  if exists (select from pg_class where relnamespace = 'strongroom'::regnamespace and relname = part) then
    return;
  end if;
  execute format(
    'create table strongroom.%I (like storage.audit_log including defaults including constraints including indexes)', part);
  execute format('alter table strongroom.%I enable row level security', part);
  execute format('revoke all on strongroom.%I from public, anon, authenticated, service_role', part);
  execute format(
    'alter table storage.audit_log attach partition strongroom.%I for values from (%L) to (%L)',
    part, start, date_trunc('month', start + interval '32 days', 'UTC'));
end $$;

-- Drops the months that were over before a moment, and returns how many. For a moment nobody else reads or writes any: who waits
-- for somebody that reads for long gives up, and tries again later.
create or replace function storage.drop_audit_months(before timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  last constant text := 'audit_log_' || to_char(before at time zone 'UTC', 'YYYY_MM');
  part text;
  dropped integer := 0;
begin
  for part in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'storage.audit_log'::regclass and c.relname ~ '^audit_log_\d{4}_\d\d$' and c.relname < last
    order by c.relname
  loop
    execute format('drop table strongroom.%I', part);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;

-- Makes the months of entries.
create or replace function storage.make_audit_months(entries json) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform storage.make_audit_month(m.start) from (
    select distinct date_trunc('month', e.at, 'UTC') as start from json_to_recordset(entries) as e (at timestamptz)
  ) m;
end $$;

-- Adds entries, each once. `common` has what is the same in all of them: most of it, which is then read once.
--
-- What was sent again, since nobody had heard that it was stored, is there already. That is looked for only when it has been:
-- to look for each is a tenth of what it costs.
drop function if exists storage.write_audit(json);
create or replace function storage.write_audit(common json, entries json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  base constant storage.audit_log := json_populate_record(null::storage.audit_log, common);
begin
  begin
    insert into storage.audit_log select * from json_populate_recordset(base, entries);
  exception when check_violation or unique_violation then
    -- Or a month that there is none of yet.
    perform storage.make_audit_months(entries);
    insert into storage.audit_log select * from json_populate_recordset(base, entries) on conflict do nothing;
  end;
end $$;

revoke execute on function
  storage.make_audit_month(timestamptz),
  storage.make_audit_months(json),
  storage.drop_audit_months(timestamptz),
  storage.write_audit(json, json)
from public, anon, authenticated, service_role;

grant execute on function
  storage.make_audit_month(timestamptz),
  storage.make_audit_months(json),
  storage.drop_audit_months(timestamptz),
  storage.write_audit(json, json)
to strongroom_server;
