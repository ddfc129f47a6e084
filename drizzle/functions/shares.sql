-- Shares (decision 0076). They are told of as JSON, so that what comes to be told of them changes no function's type.

-- A share, where its object is now, whose that and its bucket are, and how it stands by the database's clock.
create or replace function storage.share_facts(share storage.shares) returns jsonb
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select to_jsonb(share) || jsonb_build_object(
    'seconds_left', floor(extract(epoch from share.expires_at - now())),
    'is_throttled', share.wrong_secrets >= 10 and share.wrong_since > now() - interval '1 minute',
    'bucket', o.bucket_id, 'name', o.name, 'bucket_owner', b.owner_id)
  from (select) as this
  left join storage.objects o on o.id = share.object_id
  left join storage.buckets b on b.id = o.bucket_id
$$;

create or replace function storage.find_share(share text) returns jsonb
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select storage.share_facts(s) from storage.shares s where s.share_id = share
$$;

-- Whether URLs that it has issued still work.
create or replace function storage.is_share_active(share text) returns boolean
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (select from storage.shares s where s.share_id = share and s.is_active and s.expires_at > now())
$$;

-- What may be shared, past all policies: by its id, or by its name. No row: there is none.
create or replace function storage.find_sharable(object uuid, bucket text, path text)
returns table (object_id uuid, bucket_id text, name text, object_owner text, bucket_owner text)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select o.id, o.bucket_id, o.name, o.owner_id, b.owner_id
  from storage.objects o join storage.buckets b on b.id = o.bucket_id
  where object is not null and o.id = object
  union all
  select o.id, o.bucket_id, o.name, o.owner_id, b.owner_id
  from storage.objects o join storage.buckets b on b.id = o.bucket_id
  where object is null and o.bucket_id = bucket and o.name = path
$$;

-- Who hears of it: the sharer, the bucket's owner, the service (storage.readable_events). No secret is told.
create or replace function storage.emit_share_event(happened text, share storage.shares, bucket text, path text, done text)
returns void language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into storage.events (type, owner_id, bucket_owner_id, operation, data)
  select happened, share.shared_by, (select b.owner_id from storage.buckets b where b.id = bucket), done,
    jsonb_build_object(
      'share_id', share.share_id, 'object_id', share.object_id, 'bucket', bucket, 'path', path,
      'shared_by', share.shared_by, 'shared_with', share.shared_with, 'shared_with_email', share.shared_with_email,
      'permissions', share.permissions, 'expires_at', storage.json_time(share.expires_at),
      'max_downloads', share.max_downloads, 'download_count', share.download_count)
$$;

-- Makes one of what the server says of it, for some hours. Null when its sharer has as many active ones as he may have; the
-- service has any number.
create or replace function storage.create_share(said jsonb, hours integer, most integer, operation text) returns jsonb
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  share storage.shares := jsonb_populate_record(null::storage.shares, said);
  facts jsonb;
begin
  if share.shared_by is not null and share.sharer_role <> 'service_role' then
    perform pg_advisory_xact_lock(hashtextextended('storage.shares of ' || share.shared_by, 0));
    if most <= (
      select count(*) from (
        select from storage.shares s
        where s.shared_by = share.shared_by and s.is_active and s.expires_at > now() limit most
      ) own
    ) then
      return null;
    end if;
  end if;
  insert into storage.shares as s (
    share_id, object_id, shared_by, sharer_role, sharer_claims, shared_with, shared_with_email, permissions,
    password_hash, token_hash, expires_at, max_downloads
  ) values (
    share.share_id, share.object_id, share.shared_by, share.sharer_role, share.sharer_claims, share.shared_with,
    share.shared_with_email, share.permissions, share.password_hash, share.token_hash,
    now() + make_interval(hours => hours), share.max_downloads
  ) returning * into share;
  facts := storage.share_facts(share);
  perform storage.emit_share_event('storage.share.created', share, facts ->> 'bucket', facts ->> 'name', operation);
  return facts;
end $$;

-- Changes what `said` names of it: an active one alone. No row: there is none.
create or replace function storage.change_share(share text, said jsonb, hours integer) returns jsonb
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.shares s set
    permissions = coalesce(said -> 'permissions', s.permissions),
    max_downloads = case when said ? 'max_downloads' then (said ->> 'max_downloads')::integer else s.max_downloads end,
    password_hash = case when said ? 'password_hash' then said ->> 'password_hash' else s.password_hash end,
    token_hash = case when said ? 'token_hash' then said ->> 'token_hash' else s.token_hash end,
    expires_at = case when hours is null then s.expires_at else now() + make_interval(hours => hours) end,
    updated_at = now()
  where s.share_id = share and s.is_active and s.expires_at > now()
  returning storage.share_facts(s)
$$;

-- Ends one. Returns whether it was active.
create or replace function storage.end_share(share text, operation text) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  ended storage.shares;
  facts jsonb;
begin
  update storage.shares s set is_active = false, revoked_at = now(), updated_at = now()
  where s.share_id = share and s.is_active returning * into ended;
  if not found then
    return false;
  end if;
  facts := storage.share_facts(ended);
  perform storage.emit_share_event('storage.share.revoked', ended, facts ->> 'bucket', facts ->> 'name', operation);
  return true;
end $$;

-- Ends up to `most` of a sharer's. Returns how many.
create or replace function storage.end_shares_of(sharer text, most integer, operation text) returns integer
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  select count(*) filter (where storage.end_share(s.share_id, operation))::integer
  from (select a.share_id from storage.shares a where a.shared_by = sharer and a.is_active limit most) s
$$;

-- Counts a download, unless it was downloaded as often as it may be: one conditional update, so that of N+1 at once N may.
-- What is not counted is told of as well. Returns how often it was downloaded; null when it may not be.
create or replace function storage.use_share(share text, is_counted boolean, operation text) returns integer
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  used storage.shares;
  facts jsonb;
begin
  if is_counted then
    update storage.shares s set download_count = s.download_count + 1, last_downloaded_at = now()
    where s.share_id = share and s.is_active and s.expires_at > now()
      and (s.max_downloads is null or s.download_count < s.max_downloads)
    returning * into used;
  else
    select * into used from storage.shares s where s.share_id = share and s.is_active and s.expires_at > now();
  end if;
  if not found then
    return null;
  end if;
  facts := storage.share_facts(used);
  perform storage.emit_share_event('storage.share.accessed', used, facts ->> 'bucket', facts ->> 'name', operation);
  return used.download_count;
end $$;

-- Notes a wrong secret. Returns whether it was one of the ten that may be tried in a minute.
create or replace function storage.count_wrong_secret(share text) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update storage.shares s set
    wrong_secrets = case when s.wrong_since > now() - interval '1 minute' then s.wrong_secrets + 1 else 1 end,
    wrong_since = case when s.wrong_since > now() - interval '1 minute' then s.wrong_since else now() end
  where s.share_id = share and (s.wrong_secrets < 10 or s.wrong_since <= now() - interval '1 minute');
  return found;
end $$;

-- Shares, newest first, behind a place: a sharer's, a recipient's, or all for null. Without secrets.
create or replace function storage.list_shares(
  sharer text, recipient text, object uuid, active boolean, after_time timestamptz, after_share text, most integer
) returns setof jsonb language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- Each its own statement, so that each has its index.
  if recipient is not null then
    return query
      select storage.share_facts(s) from storage.shares s
      where s.shared_with = recipient and (s.created_at, s.share_id) < (after_time, after_share)
        and (object is null or s.object_id = object)
        and (active is null or active = (s.is_active and s.expires_at > now()))
      order by s.created_at desc, s.share_id desc limit most;
  elsif sharer is not null then
    return query
      select storage.share_facts(s) from storage.shares s
      where s.shared_by = sharer and (s.created_at, s.share_id) < (after_time, after_share)
        and (object is null or s.object_id = object)
        and (active is null or active = (s.is_active and s.expires_at > now()))
      order by s.created_at desc, s.share_id desc limit most;
  else
    return query
      select storage.share_facts(s) from storage.shares s
      where (s.created_at, s.share_id) < (after_time, after_share)
        and (object is null or s.object_id = object)
        and (active is null or active = (s.is_active and s.expires_at > now()))
      order by s.created_at desc, s.share_id desc limit most;
  end if;
end $$;

-- Takes away up to `most` that ended 30 days ago. Returns whether there may be more.
create or replace function storage.forget_shares(most integer) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  gone integer;
begin
  delete from storage.shares s using (
    select a.share_id from storage.shares a where a.expires_at < now() - interval '30 days' limit most for update skip locked
  ) o where s.share_id = o.share_id;
  get diagnostics gone = row_count;
  return gone >= most;
end $$;

-- What is deleted for good ends its shares, whoever deletes it. What can come back keeps them: until then there is nothing to be had.
create or replace function storage.end_shares_of_deleted() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  deletion text;
  replaced text;
  one record;
begin
  if not exists (select from storage.shares s where s.is_active) then
    return null;
  end if;
  deletion := storage.trusted_setting('storage.deletion');
  replaced := storage.trusted_setting('storage.replaced_version');
  for one in
    update storage.shares s set is_active = false, revoked_at = now(), updated_at = now()
    from gone o left join storage.buckets b on b.id = o.bucket_id
    where s.object_id = o.id and s.is_active
      -- The one before it moves up.
      and (replaced is null or o.version is distinct from replaced)
      and storage.kept_as('deleted', deletion, b.versioning_status, b.trash_days, o.version, o.is_versioned) is null
    returning s as share, o.bucket_id, o.name
  loop
    perform storage.emit_share_event('storage.share.revoked', one.share, one.bucket_id, one.name,
      storage.trusted_setting('storage.operation'));
  end loop;
  return null;
end $$;

create or replace trigger strongroom_end_shares after delete on storage.objects
  referencing old table as gone for each statement execute function storage.end_shares_of_deleted();

-- Nobody shares past the API.
revoke execute on function
  storage.share_facts(storage.shares),
  storage.find_share(text),
  storage.is_share_active(text),
  storage.find_sharable(uuid, text, text),
  storage.emit_share_event(text, storage.shares, text, text, text),
  storage.create_share(jsonb, integer, integer, text),
  storage.change_share(text, jsonb, integer),
  storage.end_share(text, text),
  storage.end_shares_of(text, integer, text),
  storage.use_share(text, boolean, text),
  storage.count_wrong_secret(text),
  storage.list_shares(text, text, uuid, boolean, timestamptz, text, integer),
  storage.forget_shares(integer),
  storage.end_shares_of_deleted()
from public, anon, authenticated, service_role;
grant execute on function
  storage.find_share(text),
  storage.is_share_active(text),
  storage.find_sharable(uuid, text, text),
  storage.create_share(jsonb, integer, integer, text),
  storage.change_share(text, jsonb, integer),
  storage.end_share(text, text),
  storage.end_shares_of(text, integer, text),
  storage.use_share(text, boolean, text),
  storage.count_wrong_secret(text),
  storage.list_shares(text, text, uuid, boolean, timestamptz, text, integer),
  storage.forget_shares(integer)
to service_role, strongroom_server;
