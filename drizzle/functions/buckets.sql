-- Buckets: what is asked about them past RLS, and what follows a change of one.

-- All that an upload is let in by, as one text: others have other settings. Plain SQL gives a bucket what a server cannot
-- give back as it was, such as a limit past 2^53, or an array that begins elsewhere.
create or replace function storage.settings_mark(file_size_limit bigint, allowed_mime_types text[]) returns text
  language sql stable return concat_ws(' ', file_size_limit, allowed_mime_types);

-- A bucket's settings, past RLS: object operations need no policy on the buckets (wire §7.7).
create or replace function storage.bucket_settings(bucket text) returns table (
  uid uuid, policy text, file_size_limit bigint, allowed_mime_types text[], mark text
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.uid, b.policy, b.file_size_limit, b.allowed_mime_types,
    storage.settings_mark(b.file_size_limit, b.allowed_mime_types)
  from storage.buckets b where b.id = bucket
$$;

-- Whether a bucket keeps versions, past RLS as well. Null: there is no such bucket.
create or replace function storage.versioning_of(bucket text) returns text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.versioning_status from storage.buckets b where b.id = bucket
$$;

-- Which of these buckets are still there and public, and have nothing that is marked as corrupted: a change of a bucket
-- is no event, nor is a mark. Of the `unversioned` ones those are left out that keep versions by now.
create or replace function storage.still_public(buckets text[], unversioned text[]) returns setof text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.id from storage.buckets b
  where b.id = any (buckets) and b.public
  and (b.versioning_status = 'DISABLED' or b.id <> all (unversioned))
  and not exists (
    select from storage.objects o where o.bucket_id = b.id and o.quarantine_reason = 'corrupted'
  )
$$;

-- `public` is Supabase's column, `policy` ours; whichever a statement changes, the other follows. Runs with the rights of
-- whoever writes, and must not run his operators.
create or replace function storage.keep_bucket_policy() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if length(new.name) > 100 then
    raise exception 'the bucket name has more than 100 characters' using errcode = '22001';
  end if;
  if tg_op = 'UPDATE' and new.policy is not distinct from old.policy then
    if coalesce(new.public, false) is distinct from coalesce(old.public, false) then
      new.policy := case when new.public then 'public' else 'private' end;
    end if;
  elsif new.policy is null then
    new.policy := case when new.public then 'public' else 'private' end;
  end if;
  new.public := new.policy = 'public';
  return new;
end $$;

create or replace trigger strongroom_keep_bucket_policy before insert or update on storage.buckets
  for each row execute function storage.keep_bucket_policy();

-- Bytes under a bucket that this database has never had are another's, and left alone.
create or replace function storage.remember_bucket() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into storage.former_buckets (uid) values (old.uid) on conflict do nothing;
  return null;
end $$;

create or replace trigger strongroom_remember_bucket after delete on storage.buckets
  for each row execute function storage.remember_bucket();

-- `truncate` fires no trigger for a row.
create or replace function storage.remember_all_buckets() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into storage.former_buckets (uid) select b.uid from storage.buckets b on conflict do nothing;
  return null;
end $$;

create or replace trigger strongroom_remember_all_buckets before truncate on storage.buckets
  for each statement execute function storage.remember_all_buckets();

revoke execute on function
  storage.settings_mark(bigint, text[]),
  storage.bucket_settings(text),
  storage.versioning_of(text),
  storage.still_public(text[], text[])
from public, anon, authenticated, service_role;

grant execute on function
  storage.settings_mark(bigint, text[]),
  storage.bucket_settings(text),
  storage.versioning_of(text),
  storage.still_public(text[], text[])
to service_role, strongroom_server;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.remember_bucket(),
  storage.remember_all_buckets()
from public, anon, authenticated, service_role;
