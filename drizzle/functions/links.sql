-- Signed URLs that were taken back, and those that work a number of times (decision 0075).

-- What was taken back after a position, in the order of the commits, and the newest position: one row at least. Moments are in
-- milliseconds since 1970, as tokens have theirs.
create or replace function storage.link_revocations_after(known bigint, most integer)
returns table (newest bigint, "position" bigint, key text, moment double precision)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select n.newest, r."position", r.key, (extract(epoch from r.moment) * 1000)::double precision
  from (select coalesce(max(a."position"), 0) as newest from storage.link_revocations a) n
  left join lateral (
    select b."position", b.key, b.moment from storage.link_revocations b
    where b."position" > known order by b."position" limit most
  ) r on true
  order by r."position"
$$;

-- The last moment at which one of these was taken back; null for none.
create or replace function storage.link_revoked_at(keys text[]) returns double precision
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select (extract(epoch from max(r.moment)) * 1000)::double precision
  from storage.link_revocations r where r.key = any (keys)
$$;

-- Takes back what was signed up to a moment, and tells of it. Null when whoever does has as many rows as he may have.
create or replace function storage.revoke_links(
  keys text[], moment timestamptz, ends timestamptz, revoker text, most integer, told jsonb
) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- One after the other, so that whoever sees a position has seen those before it.
  perform pg_advisory_xact_lock(hashtextextended('storage.link_revocations', 0));
  if revoker is not null and most <= (
    select count(*) from (select from storage.link_revocations r where r.revoked_by = revoker limit most) own
  ) then
    return null;
  end if;
  insert into storage.link_revocations as r (key, moment, expires_at, revoked_by)
  select k, revoke_links.moment, ends, revoker from unnest(keys) k
  on conflict on constraint link_revocations_pkey do update set
    "position" = default,
    moment = greatest(r.moment, excluded.moment),
    expires_at = greatest(r.expires_at, excluded.expires_at);
  insert into storage.events (type, operation, data)
  values ('storage.link.revoked', 'storage.object.sign_revoke', told);
  return true;
end $$;

-- Whose an object is, and its bucket, past all policies. No row: no such bucket.
create or replace function storage.owners_of(bucket text, object text)
returns table (bucket_uid uuid, bucket_owner text, object_owner text)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.uid, b.owner_id, (select o.owner_id from storage.objects o where o.bucket_id = b.id and o.name = object)
  from storage.buckets b where b.id = bucket
$$;

-- Counts a download, unless it goes on with one that was counted less than a minute ago: by a range, or as a retry of one that
-- broke off. Returns whether it may be.
create or replace function storage.count_link_download(
  link uuid, of_client text, is_range boolean, most integer, ends timestamptz
) returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if is_range then
    perform from storage.link_downloads d where d.link_id = link and d.client = of_client and d.free_until > now();
  else
    update storage.link_downloads d set retries = d.retries - 1
    where d.link_id = link and d.client = of_client and d.free_until > now() and d.retries > 0;
  end if;
  if found then
    return true;
  end if;
  insert into storage.link_uses as u (link_id, used, expires_at) values (link, 1, ends)
  on conflict (link_id) do update set used = u.used + 1 where u.used < most;
  if not found then
    return false;
  end if;
  delete from storage.link_downloads d where d.link_id = link and d.free_until <= now();
  insert into storage.link_downloads (link_id, client, free_until) values (link, of_client, now() + interval '1 minute')
  on conflict (link_id, client) do update set free_until = excluded.free_until;
  return true;
end $$;

-- A download that was counted has broken off: its client may try again, for a minute.
create or replace function storage.link_download_broke(link uuid, of_client text) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into storage.link_downloads as d (link_id, client, free_until, retries)
  select u.link_id, of_client, now() + interval '1 minute', 1 from storage.link_uses u where u.link_id = link
  on conflict (link_id, client) do update set free_until = excluded.free_until, retries = d.retries + 1
$$;

-- Forgets what is over of both kinds, a number at once. Returns whether there may be more.
create or replace function storage.forget_links(most integer) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  revoked integer;
  used integer;
begin
  delete from storage.link_revocations r using (
    select a.key from storage.link_revocations a where a.expires_at < now() limit most for update skip locked
  ) o where r.key = o.key;
  get diagnostics revoked = row_count;
  delete from storage.link_uses u using (
    select a.link_id from storage.link_uses a where a.expires_at < now() limit most for update skip locked
  ) o where u.link_id = o.link_id;
  get diagnostics used = row_count;
  return greatest(revoked, used) >= most;
end $$;

-- Nobody takes back, or counts, past the API.
revoke execute on function
  storage.link_revocations_after(bigint, integer),
  storage.link_revoked_at(text[]),
  storage.revoke_links(text[], timestamptz, timestamptz, text, integer, jsonb),
  storage.owners_of(text, text),
  storage.count_link_download(uuid, text, boolean, integer, timestamptz),
  storage.link_download_broke(uuid, text),
  storage.forget_links(integer)
from public, anon, authenticated;
grant execute on function
  storage.link_revocations_after(bigint, integer),
  storage.link_revoked_at(text[]),
  storage.revoke_links(text[], timestamptz, timestamptz, text, integer, jsonb),
  storage.owners_of(text, text),
  storage.count_link_download(uuid, text, boolean, integer, timestamptz),
  storage.link_download_broke(uuid, text),
  storage.forget_links(integer)
to service_role, strongroom_server;
