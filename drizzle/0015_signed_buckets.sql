-- A signed URL is for a bucket and not for its name: whoever signs many at once learns the bucket's uid with the names
-- that the caller sees, as read_object tells it for one.
drop function storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean);
--> statement-breakpoint
create function storage.visible_names_as(
  bucket text, names text[],
  role text, subject text, claims text, token text,
  operation text, method text, path text, headers text, user_buckets boolean
) returns table (name text, bucket_uid uuid) language plpgsql as $$
declare
  found_uid uuid;
begin
  -- Before the names, so that these are never those of a bucket that has been made again meanwhile.
  select b.uid into found_uid from storage.bucket_settings(bucket) b;
  perform storage.act_as(role, subject, claims, token, operation, method, path, headers, user_buckets);
  return query select o.name, found_uid from storage.objects o where o.bucket_id = bucket and o.name = any (names);
end $$;
--> statement-breakpoint
revoke execute on function
  storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean)
from public;
--> statement-breakpoint
grant execute on function
  storage.visible_names_as(text, text[], text, text, text, text, text, text, text, text, boolean)
to strongroom_server, service_role;
