-- Uploads that arrive in pieces, over any time and through any server (wire §5). Each has a version, which is on
-- storage.uploads until it is finished, given up or expired.

-- Fails with SR002 when a share has more unfinished uploads than `most`, or larger ones together than `most_bytes`. Before
-- that, those that no request has had for `idle_ms` expire: they would have stayed for `lifetime_ms` otherwise.
create or replace function storage.bound_unfinished_uploads(
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
        and u.heartbeat_at < idle_since
        and i.expires_at < idle_since + coalesce(i.stays_ms, lifetime_ms) * interval '1 millisecond'
      for update of i skip locked
    );
  end loop;
  raise exception 'too many unfinished uploads' using errcode = 'SR002';
end $$;

-- Begins one, if the policies allow such an object, within the bounds of its share: all of it, or nothing. Returns when it
-- expires. Who may not upload hears that, and not how many there are.
create or replace function storage.begin_resumable_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  signed boolean, length bigint, sent_metadata text, new_content jsonb, lifetime_ms double precision,
  whose text, largest bigint, most bigint, most_bytes bigint, idle_ms double precision,
  context text
) returns timestamptz language plpgsql as $$
declare
  expiry timestamptz := now() + lifetime_ms * interval '1 millisecond';
begin
  perform set_config('role', 'service_role', true);
  insert into storage.resumable_uploads (
    id, bucket_uid, bucket_id, name, owner_id, owner_role, is_signed, upload_length, upload_metadata, content,
    expires_at, stays_ms, share, largest
  ) values (
    upload, upload_bucket_uid, bucket, object, new_owner_id, storage.role_of(context), signed, length, sent_metadata,
    new_content, expiry, lifetime_ms, whose, largest
  );
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert,
    array(select jsonb_array_elements_text(new_content -> 'tags')), (new_content ->> 'autoDeleteAfterDays')::integer,
    new_content -> 'attributes', context
  );
  if whose is not null then
    perform set_config('role', 'service_role', true);
    perform storage.bound_unfinished_uploads(whose, most, most_bytes, lifetime_ms, idle_ms);
  end if;
  return expiry;
end $$;

-- How far one is, and what its bucket allows now. `state` is 'expired' also when it was given up. A finished one is told as
-- long as its object is what it has made, and for a few minutes: a client that remembers it would otherwise take its file
-- for uploaded that somebody has removed or replaced, and send nothing.
create or replace function storage.find_resumable_upload(upload uuid) returns table (
  bucket_id text, name text, bucket_uid uuid, owner_id text, owner_role text, is_signed boolean,
  upload_length bigint, upload_offset bigint, upload_metadata text, content jsonb, notes text,
  expires_at timestamptz, state text,
  has_bucket boolean, file_size_limit bigint, allowed_mime_types text[]
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select r.bucket_id, r.name, r.bucket_uid, r.owner_id, r.owner_role, r.is_signed,
    r.upload_length, r.upload_offset, r.upload_metadata, r.content, r.notes, r.expires_at,
    case
      when r.ended = 'terminated' then r.ended
      when r.expires_at <= now() then 'expired'
      when r.ended is not null and exists (
        select from storage.objects o
        where o.version = r.id::text and o.bucket_id = r.bucket_id and o.name collate "C" = r.name
      ) then r.ended
      when r.ended is null and exists (select from storage.uploads u where u.version = r.id) then 'open'
      else 'expired'
    end,
    b.id is not null, b.file_size_limit, b.allowed_mime_types
  from storage.resumable_uploads r
  left join storage.buckets b on b.id = r.bucket_id and b.uid = r.bucket_uid
  where r.id = upload and not r.in_parts
$$;

-- The same for the one who goes on with it; and fails as the write itself would, if the policies do not allow the
-- object any more. They are not asked about an upload that is somebody else's, or has ended. `upsert` counts for one that
-- does not say it itself.
create or replace function storage.ask_resumable_upload(
  upload uuid, bucket text, object text, signed boolean, owner uuid, upsert boolean,
  context text
) returns table (
  bucket_id text, name text, bucket_uid uuid, owner_id text, owner_role text, is_signed boolean,
  upload_length bigint, upload_offset bigint, upload_metadata text, content jsonb, notes text,
  expires_at timestamptz, state text,
  has_bucket boolean, file_size_limit bigint, allowed_mime_types text[]
) language plpgsql as $$
begin
  select f.* into bucket_id, name, bucket_uid, owner_id, owner_role, is_signed, upload_length, upload_offset,
    upload_metadata, content, notes, expires_at, state, has_bucket, file_size_limit, allowed_mime_types
  from storage.find_resumable_upload(upload) f;
  if not found then
    return;
  end if;
  return next;
  if bucket_id = bucket and name = object and is_signed = signed and coalesce(owner_id, '') = storage.subject_of(context)
    and owner_role = storage.role_of(context) and state = 'open' and has_bucket
  then
    perform storage.act_as(context);
    perform storage.trial_write(
      bucket, object, owner, owner_id,
      jsonb_build_object('mimetype', content -> 'contentType')
        || jsonb_strip_nulls(jsonb_build_object('contentLength', upload_length)),
      content -> 'userMetadata', coalesce((content ->> 'upsert')::boolean, upsert),
      array(select jsonb_array_elements_text(content -> 'tags')), (content ->> 'autoDeleteAfterDays')::integer,
      content -> 'attributes'
    );
  end if;
end $$;

-- Takes an upload for one more request: what those with a lower number write is refused from here on. What a row names is no
-- upload, whatever the list says: its bytes are written once.
create or replace function storage.begin_attempt(upload uuid, lifetime_ms double precision) returns table (
  upload_length bigint, upload_offset bigint, notes text, attempt bigint
) language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r
  set attempt = r.attempt + 1, wanted_attempt = null, expires_at = now() + lifetime_ms * interval '1 millisecond'
  where r.id = upload and r.ended is null and r.expires_at > now()
    and exists (select from storage.uploads u where u.version = r.id)
    and not exists (select from storage.objects o where o.version = upload::text)
    and not exists (select from storage.object_versions v where v.version = upload::text)
  returning r.upload_length, r.upload_offset, r.notes, r.attempt
$$;

-- Begins one request's turn, which the session has until `unlock_resumable_upload` or its end. Does not wait: no row when
-- another session has it. `attempt` is null when the upload has ended or expired, or `taking` is false.
create or replace function storage.lock_resumable_upload(
  upload uuid, taking boolean, lifetime_ms double precision
) returns table (
  upload_length bigint, upload_offset bigint, notes text, attempt bigint
) language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  if not storage.take_turn('upload ' || upload) then
    return;
  end if;
  -- Nobody relies on the number after a crash of the database: it ends all turns, and whoever had one is told.
  perform set_config('synchronous_commit', 'off', true);
  if taking then
    return query select a.* from storage.begin_attempt(upload, lifetime_ms) a;
  end if;
  if not taking or not found then
    return next;
  end if;
end $$;

create or replace function storage.unlock_resumable_upload(upload uuid) returns boolean
  language plpgsql volatile set search_path = pg_catalog, pg_temp as $$
begin
  perform storage.end_turn('upload ' || upload);
  return true;
end $$;

-- Notes how far it is. Returns when it expires now, or null when another request has it, or it was given up.
create or replace function storage.advance_resumable_upload(
  upload uuid, mine bigint, length bigint, new_offset bigint, new_notes text, lifetime_ms double precision
) returns timestamptz language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r
  set upload_length = length, upload_offset = new_offset, notes = new_notes,
    expires_at = now() + lifetime_ms * interval '1 millisecond'
  where r.id = upload and r.attempt = mine and r.ended is null
    and exists (select from storage.uploads u where u.version = r.id)
  returning r.expires_at
$$;

-- Ends one that will never be an object; its bytes go on the list of removals. False when another request has it. What
-- nobody will ask for again goes at once: who begins and ends uploads for ever leaves little behind.
create or replace function storage.terminate_resumable_upload(upload uuid, mine bigint) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- In the order of `keep_part`, which may be noting a part now.
  perform from storage.s3_multipart_uploads m where m.upload = terminate_resumable_upload.upload for update;
  update storage.resumable_uploads r set ended = 'terminated', notes = null, upload_metadata = null, content = '{}'
  where r.id = upload and r.attempt = mine and r.ended is null;
  if not found then
    return false;
  end if;
  perform storage.list_upload_for_removal(upload);
  delete from storage.s3_multipart_uploads m where m.upload = terminate_resumable_upload.upload;
  return true;
end $$;

-- From the list of versions being written to that of those to be removed.
create or replace function storage.list_upload_for_removal(upload uuid) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with listed as (delete from storage.uploads u where u.version = upload returning u.version, u.bucket_uid)
  insert into storage.removals (version, bucket_uid) select l.version, l.bucket_uid from listed l
  on conflict do nothing
$$;

-- Asks the request that has an upload to let it go, on whichever server it is.
create or replace function storage.want_resumable_upload(upload uuid) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r set wanted_attempt = r.attempt where r.id = upload
$$;

-- Which of these another request waits for.
create or replace function storage.wanted_resumable_uploads(uploads uuid[]) returns setof uuid
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select r.id from storage.resumable_uploads r where r.id = any (uploads) and r.wanted_attempt = r.attempt
$$;

revoke execute on function
  storage.bound_unfinished_uploads(text, bigint, bigint, double precision, double precision),
  storage.begin_resumable_upload(
    uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision,
    text, bigint, bigint, bigint, double precision, text
  ),
  storage.find_resumable_upload(uuid),
  storage.ask_resumable_upload(uuid, text, text, boolean, uuid, boolean, text),
  storage.advance_resumable_upload(uuid, bigint, bigint, bigint, text, double precision),
  storage.terminate_resumable_upload(uuid, bigint),
  storage.want_resumable_upload(uuid),
  storage.wanted_resumable_uploads(uuid[])
from public, anon, authenticated, service_role;

grant execute on function
  storage.bound_unfinished_uploads(text, bigint, bigint, double precision, double precision),
  storage.begin_resumable_upload(
    uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision,
    text, bigint, bigint, bigint, double precision, text
  ),
  storage.find_resumable_upload(uuid),
  storage.ask_resumable_upload(uuid, text, text, boolean, uuid, boolean, text),
  storage.advance_resumable_upload(uuid, bigint, bigint, bigint, text, double precision),
  storage.terminate_resumable_upload(uuid, bigint),
  storage.want_resumable_upload(uuid),
  storage.wanted_resumable_uploads(uuid[])
to service_role, strongroom_server;

-- service_role is a caller's role too, and has no part in these.
revoke execute on function
  storage.list_upload_for_removal(uuid),
  storage.begin_attempt(uuid, double precision),
  storage.lock_resumable_upload(uuid, boolean, double precision),
  storage.unlock_resumable_upload(uuid)
from public, anon, authenticated, service_role;

grant execute on function
  storage.begin_attempt(uuid, double precision),
  storage.lock_resumable_upload(uuid, boolean, double precision),
  storage.unlock_resumable_upload(uuid)
to strongroom_server;
