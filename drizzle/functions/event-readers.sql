-- Who may hear of an event: what its subscribers may read (design §9).

-- What a bucket's policy lets a caller read.
create or replace function storage.rule_reads(
  signed_in boolean, caller text, bucket_policy text, bucket_owner text, object_owner text
) returns boolean language sql immutable as $$
  select bucket_policy = 'public'
    or (signed_in and (bucket_policy = 'authenticated' or bucket_owner = caller or object_owner = caller))
$$;

-- Whether the built-in policies alone decide what a role may select from a table, as far as they show it: one of them
-- is for the role, and no restrictive policy is, which may hide what they show.
create or replace function storage.rules_decide(role text, target regclass) returns boolean language sql stable as $$
  with policies as (
    select p.polname, p.polpermissive from pg_catalog.pg_policy p
    where p.polrelid = target and p.polcmd in ('r', '*')
      and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(role, r, 'usage'))
  )
  select exists (select from policies where polname like 'strongroom: %')
    and not exists (select from policies where not polpermissive)
$$;

-- Whether a caller could read what is not there any more, by its bucket's policy or as its owner: policies can only be
-- asked about rows that are there. `past` is how it was when it happened; if there still is such a bucket, its present
-- policy has to agree, so that nothing comes to light by an old event.
create or replace function storage.could_read(
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

-- Which of these events a caller may hear of. `sees`: what it is about, where it is now. `saw`: the place that a move
-- has left. What concerns no bucket is the service's alone, but for shares. Answers about an object come from the policies on its row as it stands, if it is still that object at that
-- place; else from storage.could_read.
create or replace function storage.readable_events(
  positions bigint[], context text
) returns table (event_position bigint, sees boolean, saw boolean) language plpgsql as $$
declare
  asked bigint[];
  object_ids uuid[];
  buckets text[];
  names text[];
  visible bigint[];
  role constant text := storage.role_of(context);
  -- service_role hears of every event where it has no BYPASSRLS, too: what is not there any more cannot be asked of the
  -- policies that let it in (decision 0033).
  bypasses_rls boolean := (
    select r.rolname = 'service_role' or r.rolbypassrls or r.rolsuper from pg_catalog.pg_roles r where r.rolname = role);
  signed_in boolean := pg_has_role(role, 'authenticated', 'usage');
  caller text := storage.claims_of(context) ->> 'sub';
  by_rules boolean := storage.rules_decide(role, 'storage.objects');
  bucket_by_rules boolean := storage.rules_decide(role, 'storage.buckets');
begin
  perform set_config('role', 'service_role', true);
  select array_agg(o.position), array_agg(e.object_id), array_agg(e.bucket_id), array_agg(e.name)
  into asked, object_ids, buckets, names
  from storage.event_order o join storage.events e on e.id = o.event_id
  where o.position = any (positions) and e.type not like '%.deleted';

  perform storage.act_as(context);
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
        when e.bucket_id is null then role = 'service_role'
          -- Of a share, its sharer and the owner of the bucket as well.
          or e.type like 'storage.share.%' and signed_in and coalesce(caller in (e.owner_id, e.bucket_owner_id), false)
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

revoke execute on function
  storage.rule_reads(boolean, text, text, text, text),
  storage.rules_decide(text, regclass),
  storage.could_read(boolean, boolean, boolean, text, text, text, text, text),
  storage.readable_events(bigint[], text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.rule_reads(boolean, text, text, text, text),
  storage.rules_decide(text, regclass),
  storage.could_read(boolean, boolean, boolean, text, text, text, text, text),
  storage.readable_events(bigint[], text)
to service_role, strongroom_server;
