-- Uploads that arrive in pieces, over any time and through any server (contract §5). Each has a version, which is on
-- storage.uploads until it is finished, given up or expired. The row here outlives that for a day, so that a client
-- whose last answer was lost is told that its upload is finished.
create table storage.resumable_uploads (
  -- The version.
  id uuid primary key,
  bucket_uid uuid not null,
  bucket_id text not null,
  name text collate "C" not null,
  -- Whose it is: nobody else may go on with it. Signed: whoever has an upload token of this owner for this object.
  owner_id text,
  owner_role text not null,
  is_signed boolean not null,
  -- In bytes; null while the client has not said.
  upload_length bigint,
  -- So many bytes are stored and would survive a power failure.
  upload_offset bigint not null default 0,
  -- As the client sent it.
  upload_metadata text,
  -- What the object's row will say: content type, cache control, user metadata.
  content jsonb not null,
  -- The backend's own: where the pieces are.
  notes text,
  -- Which request has the upload, counted. What one that was displaced still writes is refused by its number.
  attempt bigint not null default 0,
  -- Another request waits for this one to end.
  wanted_attempt bigint,
  created_at timestamptz not null default now(),
  -- Moves on with each piece.
  expires_at timestamptz not null,
  ended text check (ended in ('finished', 'terminated'))
);
--> statement-breakpoint
create index resumable_uploads_expires_at on storage.resumable_uploads (expires_at);
--> statement-breakpoint
alter table storage.resumable_uploads enable row level security;
--> statement-breakpoint
grant all on storage.resumable_uploads to service_role;
--> statement-breakpoint
-- Begins one, if the policies allow such an object: all of it, or nothing. Returns when it expires.
create function storage.begin_resumable_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  signed boolean, length bigint, sent_metadata text, new_content jsonb, lifetime_ms double precision,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns timestamptz language plpgsql as $$
declare
  expiry timestamptz := now() + lifetime_ms * interval '1 millisecond';
begin
  perform set_config('role', 'service_role', true);
  insert into storage.resumable_uploads (
    id, bucket_uid, bucket_id, name, owner_id, owner_role, is_signed, upload_length, upload_metadata, content, expires_at
  ) values (
    upload, upload_bucket_uid, bucket, object, new_owner_id, role, signed, length, sent_metadata, new_content, expiry
  );
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert,
    role, subject, claims, token, operation, method, path, headers, user_buckets
  );
  return expiry;
end $$;
--> statement-breakpoint
-- How far one is, and what its bucket allows now. `state` is 'expired' also when it was given up.
create function storage.find_resumable_upload(upload uuid) returns table (
  bucket_id text, name text, bucket_uid uuid, owner_id text, owner_role text, is_signed boolean,
  upload_length bigint, upload_offset bigint, upload_metadata text, content jsonb, notes text,
  expires_at timestamptz, state text,
  has_bucket boolean, file_size_limit bigint, allowed_mime_types text[]
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select r.bucket_id, r.name, r.bucket_uid, r.owner_id, r.owner_role, r.is_signed,
    r.upload_length, r.upload_offset, r.upload_metadata, r.content, r.notes, r.expires_at,
    case
      when r.ended is not null then r.ended
      when r.expires_at <= now() then 'expired'
      when exists (select from storage.uploads u where u.version = r.id) then 'open'
      else 'expired'
    end,
    b.id is not null, b.file_size_limit, b.allowed_mime_types
  from storage.resumable_uploads r
  left join storage.buckets b on b.id = r.bucket_id and b.uid = r.bucket_uid
  where r.id = upload
$$;
--> statement-breakpoint
-- The same for the one who goes on with it; and fails as the write itself would, if the policies do not allow the
-- object any more. They are not asked about an upload that is somebody else's, or has ended.
create function storage.ask_resumable_upload(
  upload uuid, bucket text, object text, signed boolean, owner uuid, upsert boolean,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
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
  if bucket_id = bucket and name = object and is_signed = signed and coalesce(owner_id, '') = subject
    and owner_role = role and state = 'open' and has_bucket
  then
    perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
    perform storage.trial_write(
      bucket, object, owner, owner_id,
      jsonb_build_object('mimetype', content -> 'contentType')
        || jsonb_strip_nulls(jsonb_build_object('contentLength', upload_length)),
      content -> 'userMetadata', upsert
    );
  end if;
end $$;
--> statement-breakpoint
-- Begins one request's turn, by a lock that the session has until `unlock_resumable_upload` or its end. Does not wait:
-- no row when another session has the lock. `attempt` is null when the upload has ended or expired, or `taking` is
-- false; else what requests with a lower number write is refused from here on.
create function storage.lock_resumable_upload(upload uuid, taking boolean, lifetime_ms double precision) returns table (
  upload_length bigint, upload_offset bigint, notes text, attempt bigint
) language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not pg_try_advisory_lock(hashtextextended(upload::text, 1601335156)) then
    return;
  end if;
  -- Nobody relies on the number after a crash of the database: it takes all locks with it, and whoever had one is told.
  perform set_config('synchronous_commit', 'off', true);
  return query
    update storage.resumable_uploads r
    set attempt = r.attempt + 1, wanted_attempt = null, expires_at = now() + lifetime_ms * interval '1 millisecond'
    where taking and r.id = upload and r.ended is null and r.expires_at > now()
      and exists (select from storage.uploads u where u.version = r.id)
    returning r.upload_length, r.upload_offset, r.notes, r.attempt;
  if not found then
    return next;
  end if;
end $$;
--> statement-breakpoint
create function storage.unlock_resumable_upload(upload uuid) returns boolean language sql volatile as $$
  select pg_advisory_unlock(hashtextextended(upload::text, 1601335156))
$$;
--> statement-breakpoint
-- Notes how far it is. Returns when it expires now, or null when another request has it, or it was given up.
create function storage.advance_resumable_upload(
  upload uuid, mine bigint, length bigint, new_offset bigint, new_notes text, lifetime_ms double precision
) returns timestamptz language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r
  set upload_length = length, upload_offset = new_offset, notes = new_notes,
    expires_at = now() + lifetime_ms * interval '1 millisecond'
  where r.id = upload and r.attempt = mine and r.ended is null
    and exists (select from storage.uploads u where u.version = r.id)
  returning r.expires_at
$$;
--> statement-breakpoint
-- Ends one that will never be an object; its bytes go on the list of removals. False when another request has it.
create function storage.terminate_resumable_upload(upload uuid, mine bigint) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  update storage.resumable_uploads r set ended = 'terminated', notes = null
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
-- Asks the request that has an upload to let it go, on whichever server it is.
create function storage.want_resumable_upload(upload uuid) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r set wanted_attempt = r.attempt where r.id = upload
$$;
--> statement-breakpoint
create function storage.wanted_resumable_uploads(uploads uuid[]) returns setof uuid
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select r.id from storage.resumable_uploads r where r.id = any (uploads) and r.wanted_attempt = r.attempt
$$;
--> statement-breakpoint
-- As before (0007); a resumable upload is finished with it.
create or replace function storage.finish_upload(upload uuid) returns table (version uuid, bucket_uid uuid)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from storage.uploads u where u.version = upload;
  if not found then
    raise exception 'the upload was given up' using errcode = 'SR001';
  end if;
  update storage.resumable_uploads r set ended = 'finished', notes = null where r.id = upload;
  return query
    select r.version, r.bucket_uid from storage.removals r where r.transaction = pg_current_xact_id_if_assigned();
end $$;
--> statement-breakpoint
do $$
declare
  name text;
begin
  foreach name in array array[
    'begin_resumable_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, boolean, bigint, text, jsonb, double precision, text, text, text, text, text, text, text, text, boolean)',
    'find_resumable_upload(uuid)',
    'ask_resumable_upload(uuid, text, text, boolean, uuid, boolean, text, text, text, text, text, text, text, text, boolean)',
    'lock_resumable_upload(uuid, boolean, double precision)', 'unlock_resumable_upload(uuid)',
    'advance_resumable_upload(uuid, bigint, bigint, bigint, text, double precision)',
    'terminate_resumable_upload(uuid, bigint)', 'want_resumable_upload(uuid)', 'wanted_resumable_uploads(uuid[])'
  ] loop
    execute format('revoke execute on function storage.%s from public', name);
    execute format('grant execute on function storage.%s to service_role, strongroom_server', name);
  end loop;
end $$;
