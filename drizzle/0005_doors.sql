-- The ways from the server into the rows, each under a caller's role and claims. Every setting is local to
-- the transaction. Reads and the trial write are one call each, because round trips are what a request costs.

-- Makes the rest of the transaction the caller's (contract §7.5), and returns its start, which `now()` will be.
-- The login must be a member of the role: PostgreSQL checks that, not we.
create function storage.act_as(
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns timestamptz language plpgsql as $$
begin
  perform
    set_config('request.jwt.claims', claims, true),
    set_config('request.jwt.claim.sub', subject, true),
    set_config('request.jwt.claim.role', role, true),
    set_config('request.jwt', token, true),
    set_config('request.method', method, true),
    set_config('request.path', path, true),
    set_config('request.headers', headers, true),
    set_config('storage.operation', operation, true),
    set_config('storage.user_buckets', user_buckets::text, true),
    set_config('storage.allow_delete_query', 'true', true),
    set_config('search_path', 'storage, public', true),
    set_config('role', role, true);
  return now();
end $$;
--> statement-breakpoint
-- Finds a bucket and one object in it. No row: no such bucket, or not for this kind of access. A row whose id
-- is null: no such object, or hidden by RLS.
--
--   access 'public'  anybody; public buckets only, RLS skipped
--          'signed'  a verified signed URL; RLS skipped
--          'caller'  RLS decides, but a public bucket needs no policy (contract §3.4)
--          'policy'  RLS decides
create function storage.read_object(
  access text, bucket text, object text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz
) language plpgsql as $$
declare
  found_uid uuid;
  found_public boolean;
begin
  perform set_config('role', 'service_role', true);
  select b.uid, b.public into found_uid, found_public from storage.buckets b where b.id = bucket;
  if found_uid is null or (access = 'public' and not found_public) then
    return;
  end if;
  if access in ('public', 'signed') or (access = 'caller' and found_public) then
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  else
    perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
    -- The same statement again, not shared with the one above: a plan is kept per role.
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  end if;
  if not found then
    bucket_uid := found_uid;
    return next;
  end if;
end $$;
--> statement-breakpoint
-- Whether the caller's policies allow this write: it is made, and taken back (contract §7.7). Fails as the
-- write itself would: 42501 denied, 23505 exists, 23503 no such bucket.
create function storage.trial_write(
  bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean
) returns void language plpgsql as $$
begin
  if upsert then
    insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata)
    on conflict (bucket_id, name) do update set
      version = excluded.version,
      owner = coalesce(excluded.owner, o.owner),
      owner_id = coalesce(excluded.owner_id, o.owner_id),
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata
    returning o.id into object;
  else
    insert into storage.objects (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata);
  end if;
  raise sqlstate 'PT200';
exception when sqlstate 'PT200' then
  -- The block's work is undone, the transaction goes on.
  null;
end $$;
--> statement-breakpoint
-- Asks the policies, and, with `upload` given, puts that version on the list of those being written.
create function storage.begin_upload(
  upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns void language plpgsql as $$
begin
  if upload is not null then
    perform set_config('role', 'service_role', true);
    insert into storage.uploads (version, bucket_uid, bucket_id, name)
    values (upload, upload_bucket_uid, bucket, object);
  end if;
  perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
  perform storage.trial_write(bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, upsert);
end $$;
--> statement-breakpoint
-- A bucket's settings, past RLS: object operations need no policy on the buckets (contract §7.7).
create function storage.bucket_settings(bucket text) returns table (
  uid uuid, policy text, file_size_limit bigint, allowed_mime_types text[]
) language sql stable security definer set search_path = '' as $$
  select b.uid, b.policy, b.file_size_limit, b.allowed_mime_types from storage.buckets b where b.id = bucket
$$;
--> statement-breakpoint
-- Callers' roles never get at these: whoever may run act_as may become any role that the login may become.
revoke execute on function
  storage.bucket_settings(text),
  storage.act_as(text, text, text, text, text, text, text, text, boolean),
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text, text, text, text, text, text, text, text, boolean)
from public;
--> statement-breakpoint
grant execute on function
  storage.bucket_settings(text),
  storage.act_as(text, text, text, text, text, text, text, text, boolean),
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.begin_upload(uuid, uuid, text, text, uuid, text, jsonb, jsonb, boolean, text, text, text, text, text, text, text, text, boolean)
to strongroom_server, service_role;
--> statement-breakpoint
-- A server whose login may not migrate still has to see that nothing is pending.
grant select on storage.strongroom_migrations to strongroom_server;
