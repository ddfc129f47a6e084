-- Unfinished uploads are bounded for each share: whoever has begun them. What is counted are the share's own rows, so that
-- nobody waits for a counter; uploads that begin at the same moment do not see each other, and may together be as many too
-- many as there are connections.
alter table storage.resumable_uploads
  -- Whose they are together; null counts for nobody.
  add column share text,
  -- The largest that it may become, in bytes, as long as the client has not said its length.
  add column largest bigint not null default 0;
--> statement-breakpoint
create index resumable_uploads_share on storage.resumable_uploads (share, expires_at)
  where ended is null and share is not null;
--> statement-breakpoint
-- Fails with SR002 when a share has more unfinished uploads than `most`, or larger ones together than `most_bytes`. Before
-- that, those that no request has had for `idle_ms` expire: they would have stayed for `lifetime_ms` otherwise.
create function storage.bound_unfinished_uploads(
  whose text, most bigint, most_bytes bigint, lifetime_ms double precision, idle_ms double precision
) returns void language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
declare
  fits boolean;
  idle_since timestamptz := now() - idle_ms * interval '1 millisecond';
begin
  for turn in 1..2 loop
    select count(*) <= most and coalesce(sum(coalesce(r.upload_length, r.largest)), 0) <= most_bytes into fits
    from storage.resumable_uploads r
    where r.share = whose and r.ended is null and r.expires_at > now();
    if fits then
      return;
    end if;
    -- Whoever takes one moves its expiry, and keeps its heart beating for as long as he has it, with a piece or without.
    update storage.resumable_uploads r set expires_at = now()
    where turn = 1 and r.id in (
      select i.id from storage.resumable_uploads i join storage.uploads u on u.version = i.id
      where i.share = whose and i.ended is null and i.expires_at > now()
        and u.heartbeat_at < idle_since and i.expires_at < idle_since + lifetime_ms * interval '1 millisecond'
      for update of i skip locked
    );
  end loop;
  raise exception 'too many unfinished uploads' using errcode = 'SR002';
end $$;
--> statement-breakpoint
drop function storage.begin_resumable_upload(
  uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision,
  text, text, text, text, text, text, text, text, boolean
);
--> statement-breakpoint
-- As before (0011), within the bounds of a share. Who may not upload hears that, and not how many there are.
create function storage.begin_resumable_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  signed boolean, length bigint, sent_metadata text, new_content jsonb, lifetime_ms double precision,
  whose text, largest bigint, most bigint, most_bytes bigint, idle_ms double precision,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns timestamptz language plpgsql as $$
declare
  expiry timestamptz := now() + lifetime_ms * interval '1 millisecond';
begin
  perform set_config('role', 'service_role', true);
  insert into storage.resumable_uploads (
    id, bucket_uid, bucket_id, name, owner_id, owner_role, is_signed, upload_length, upload_metadata, content,
    expires_at, share, largest
  ) values (
    upload, upload_bucket_uid, bucket, object, new_owner_id, role, signed, length, sent_metadata, new_content,
    expiry, whose, largest
  );
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert,
    role, subject, claims, token, operation, method, path, headers, user_buckets
  );
  if whose is not null then
    perform set_config('role', 'service_role', true);
    perform storage.bound_unfinished_uploads(whose, most, most_bytes, lifetime_ms, idle_ms);
  end if;
  return expiry;
end $$;
--> statement-breakpoint
-- As before (0011). What nobody will ask for again goes at once: who begins and ends uploads for ever leaves little behind.
create or replace function storage.terminate_resumable_upload(upload uuid, mine bigint) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  update storage.resumable_uploads r set ended = 'terminated', notes = null, upload_metadata = null, content = '{}'
  where r.id = upload and r.attempt = mine and r.ended is null;
  if not found then
    return false;
  end if;
  with listed as (delete from storage.uploads u where u.version = upload returning u.version, u.bucket_uid)
  insert into storage.removals (version, bucket_uid) select l.version, l.bucket_uid from listed l
  on conflict do nothing;
  return true;
end $$;
--> statement-breakpoint
do $$
declare
  name text;
begin
  foreach name in array array[
    'begin_resumable_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision, text, bigint, bigint, bigint, double precision, text, text, text, text, text, text, text, text, boolean)',
    'bound_unfinished_uploads(text, bigint, bigint, double precision, double precision)'
  ] loop
    execute format('revoke execute on function storage.%s from public', name);
    execute format('grant execute on function storage.%s to service_role, strongroom_server', name);
  end loop;
end $$;
