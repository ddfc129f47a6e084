-- Hot reads as one call each, and what the cache of public objects needs (decision 0020): to know that a row may be kept,
-- and what has changed since.

-- As before (0007), and whether the bucket is public: then anybody may read what was found.
drop function storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean);
--> statement-breakpoint
create function storage.read_object(
  access text, bucket text, object text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  bucket_uid uuid, id uuid, version text, bytes_bucket uuid, owner_id text, metadata jsonb,
  user_metadata jsonb, checksum text, created_at timestamptz, updated_at timestamptz, quarantine_reason text,
  is_public boolean
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
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason, found_public
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  else
    perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
    -- The same statement again, not shared with the one above: a plan is kept per role.
    return query
      select found_uid, o.id, o.version, coalesce(o.bytes_bucket, found_uid), o.owner_id, o.metadata,
        o.user_metadata, o.checksum, o.created_at, o.updated_at, o.quarantine_reason, found_public
      from storage.objects o where o.bucket_id = bucket and o.name = object;
  end if;
  if not found then
    bucket_uid := found_uid;
    return next;
  end if;
end $$;
--> statement-breakpoint
-- Lists and the question which names a caller sees, as one call each that becomes the caller first.
create function storage.list_folder_as(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql as $$
begin
  perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
  return query select l.* from storage.list_folder(bucket, folder, search, max_rows, skip, sort_column, sort_order) l;
end $$;
--> statement-breakpoint
create function storage.list_page_as(
  bucket text, prefix text, delimited boolean, max_rows integer, after text, after_time timestamptz,
  sort_column text, sort_order text,
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (
  name text, is_folder boolean, id uuid, updated_at timestamptz, created_at timestamptz,
  last_accessed_at timestamptz, metadata jsonb
) language plpgsql as $$
begin
  perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
  return query
    select l.* from storage.list_page(bucket, prefix, delimited, max_rows, after, after_time, sort_column, sort_order) l;
end $$;
--> statement-breakpoint
create function storage.visible_names_as(
  bucket text, names text[],
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns setof text language plpgsql as $$
begin
  perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
  return query select o.name from storage.objects o where o.bucket_id = bucket and o.name = any (names);
end $$;
--> statement-breakpoint
-- The names that the events after a position are about, in order.
create function storage.changed_names(after bigint, most integer) returns table (
  event_position bigint, bucket_id text, name text, old_bucket_id text, old_name text
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select o.position, e.bucket_id, e.name, e.old_bucket_id, e.old_name
  from storage.event_order o join storage.events e on e.id = o.event_id
  where o.position > after
  order by o.position
  limit most
$$;
--> statement-breakpoint
-- Which of these buckets are still there and public, and have nothing that is marked as corrupted: a change of a bucket
-- is no event, nor is a mark.
create function storage.still_public(buckets text[]) returns setof text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.id from storage.buckets b
  where b.id = any (buckets) and b.public and not exists (
    select from storage.objects o where o.bucket_id = b.id and o.quarantine_reason = 'corrupted'
  )
$$;
--> statement-breakpoint
revoke execute on function
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.list_folder_as(text, text, text, integer, integer, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.list_page_as(text, text, boolean, integer, text, timestamptz, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean),
  storage.changed_names(bigint, integer),
  storage.still_public(text[])
from public;
--> statement-breakpoint
grant execute on function
  storage.read_object(text, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.list_folder_as(text, text, text, integer, integer, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.list_page_as(text, text, boolean, integer, text, timestamptz, text, text, text, text, text, text, text, text, text, text, boolean),
  storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean),
  storage.changed_names(bigint, integer),
  storage.still_public(text[])
to strongroom_server, service_role;
