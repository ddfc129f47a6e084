-- Uploads in parts (wire §6.3): resumable uploads whose rows in Supabase's tables say what has come (decision 0051).

-- Begins one, if the policies allow such an object: all of it, or nothing.
create or replace function storage.begin_multipart_upload(
  upload_id text, upload uuid, upload_bucket_uid uuid, bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, new_tags text[], new_content jsonb, lifetime_ms double precision,
  whose text, most bigint, most_bytes bigint, idle_ms double precision, context text
) returns void language plpgsql as $$
begin
  perform set_config('role', 'service_role', true);
  insert into storage.resumable_uploads (
    id, bucket_uid, bucket_id, name, owner_id, owner_role, is_signed, in_parts, content, expires_at, stays_ms, share
  ) values (
    upload, upload_bucket_uid, bucket, object, new_owner_id, storage.role_of(context), false, true, new_content,
    now() + lifetime_ms * interval '1 millisecond', lifetime_ms, whose
  );
  insert into storage.s3_multipart_uploads (
    id, upload, upload_signature, bucket_id, key, version, owner_id, metadata, user_metadata
  ) values (
    upload_id, upload, '', bucket, object, upload::text, new_owner_id, new_metadata, new_user_metadata
  );
  perform storage.begin_upload(
    upload, upload_bucket_uid, bucket, object, new_owner, new_owner_id, new_metadata, new_user_metadata, true, new_tags,
    null, new_content -> 'attributes', context
  );
  if whose is not null then
    perform set_config('role', 'service_role', true);
    perform storage.bound_unfinished_uploads(whose, most, most_bytes, lifetime_ms, idle_ms);
  end if;
end $$;

-- What there is of one, and what its bucket allows now. `others` are the bytes of its parts without that of `part`, and
-- `share_others` those of all unfinished uploads of its share. A finished one is told as a resumable upload is.
create or replace function storage.find_multipart_upload(upload uuid, part integer) returns table (
  upload_id text, bucket_id text, name text, bucket_uid uuid, owner_id text, owner_role text, content jsonb,
  created_at timestamptz, state text, has_bucket boolean, file_size_limit bigint, allowed_mime_types text[],
  others bigint, share text, share_others bigint, object_metadata jsonb
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select m.id, r.bucket_id, r.name, r.bucket_uid, r.owner_id, r.owner_role, r.content, r.created_at,
    case
      when r.ended = 'finished' and r.expires_at > now() and o.id is not null then 'finished'
      when r.ended is null and r.expires_at > now() and m.id is not null
        and exists (select from storage.uploads u where u.version = r.id) then 'open'
      else 'expired'
    end,
    b.id is not null, b.file_size_limit, b.allowed_mime_types,
    m.in_progress_size - coalesce(p.size, 0), r.share,
    case when part is not null and r.share is not null then (
      select sum(coalesce(s.upload_length, s.largest)) from storage.resumable_uploads s
      where s.share = r.share and s.ended is null and s.expires_at > now()
    ) - coalesce(p.size, 0) end,
    o.metadata
  from storage.resumable_uploads r
  left join storage.s3_multipart_uploads m on m.upload = r.id
  left join storage.s3_multipart_uploads_parts p
    on p.upload_id = m.id and p.part_number = part and p.notes is not null
  left join storage.buckets b on b.id = r.bucket_id and b.uid = r.bucket_uid
  left join storage.objects o
    on o.version = r.id::text and o.bucket_id = r.bucket_id and o.name collate "C" = r.name
  where r.id = find_multipart_upload.upload and r.in_parts
$$;

-- Claims a number of an upload for a part that is to come, unless it is claimed already, or a version is being made. `notes`
-- are what the backend has noted for all parts.
create or replace function storage.claim_part(upload uuid, number integer) returns table (is_claimed boolean, notes text)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  -- In the order of `keep_part`.
  perform from storage.buckets b
    where b.id = (select m.bucket_id from storage.s3_multipart_uploads m where m.upload = claim_part.upload)
    for key share;
  insert into storage.part_claims (upload, number)
  select m.upload, claim_part.number from storage.s3_multipart_uploads m
  where m.upload = claim_part.upload and m.list is null
  for key share
  on conflict do nothing;
  is_claimed := found;
  select r.notes into notes from storage.resumable_uploads r where r.id = claim_part.upload;
  return next;
end $$;

-- Gives the number back, which nobody has used.
create or replace function storage.unclaim_part(upload uuid, number integer) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from storage.part_claims c where c.upload = unclaim_part.upload and c.number = unclaim_part.number
$$;

-- Notes something for all parts of an upload, unless that was done before, and returns what is noted. No row when it has
-- ended.
create or replace function storage.note_upload(upload uuid, new_notes text) returns setof text
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update storage.resumable_uploads r set notes = coalesce(r.notes, new_notes)
  where r.id = upload and r.in_parts and r.ended is null and r.expires_at > now()
    and exists (select from storage.uploads u where u.version = r.id)
  returning r.notes
$$;

-- As `find_multipart_upload`, for the one who goes on with it; and fails as the write itself would, if the policies do not
-- allow the object any more. They are not asked about what is somebody else's, or has ended. With them the part's number is
-- claimed, if that is wanted: `claimed` says whether it is this part's now.
create or replace function storage.ask_multipart_upload(
  upload uuid, bucket text, object text, owner uuid, part integer, claiming boolean, context text
) returns table (
  upload_id text, bucket_id text, name text, bucket_uid uuid, owner_id text, owner_role text, content jsonb,
  created_at timestamptz, state text, has_bucket boolean, file_size_limit bigint, allowed_mime_types text[],
  others bigint, share text, share_others bigint, object_metadata jsonb, claimed boolean, notes text
) language plpgsql as $$
declare
  goes_on boolean;
begin
  select f.* into upload_id, bucket_id, name, bucket_uid, owner_id, owner_role, content, created_at, state, has_bucket,
    file_size_limit, allowed_mime_types, others, share, share_others, object_metadata
  from storage.find_multipart_upload(upload, part) f;
  if not found then
    return;
  end if;
  goes_on := bucket_id = bucket and name = object and state = 'open' and has_bucket and (
    storage.role_of(context) = 'service_role'
    or coalesce(owner_id, '') = storage.subject_of(context) and owner_role = storage.role_of(context)
  );
  if goes_on and claiming then
    select c.is_claimed, c.notes into claimed, notes from storage.claim_part(upload, part) c;
  end if;
  return next;
  if goes_on then
    perform storage.act_as(context);
    perform storage.trial_write(
      bucket, object, owner, owner_id, jsonb_build_object('mimetype', content -> 'contentType'),
      content -> 'userMetadata', true, array(select jsonb_array_elements_text(content -> 'tags')), null,
      content -> 'attributes'
    );
  end if;
end $$;

-- Notes that a part is here, in the place of the one of that number, whose notes come back: nobody needs its bytes any
-- more. `outcome` is 'kept'; 'gone' when the upload has ended; 'listed' when a version is being made of its parts; 'large'
-- when they would be more bytes than `most_bytes` together; 'full' when the unfinished uploads of its share would be more than
-- `share_bytes`. Parts of one upload, and of one share, are noted one after the other.
create or replace function storage.keep_part(
  upload uuid, number integer, bytes bigint, tag text, new_notes text, digest text, sums jsonb, most_bytes bigint,
  share_bytes bigint, lifetime_ms double precision
) returns table (outcome text, replaced_size bigint, replaced_notes text)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  mine storage.s3_multipart_uploads;
  whose text;
begin
  -- The bucket first, as its deletion has it, which takes the upload along.
  perform from storage.buckets b
    where b.id = (select m.bucket_id from storage.s3_multipart_uploads m where m.upload = keep_part.upload)
    for key share;
  select m.* into mine from storage.s3_multipart_uploads m where m.upload = keep_part.upload for no key update;
  if not found or not exists (
    select from storage.resumable_uploads r join storage.uploads u on u.version = r.id
    where r.id = keep_part.upload and r.ended is null and r.expires_at > now()
  ) then
    outcome := 'gone';
    return next;
    return;
  end if;
  if mine.list is not null then
    outcome := 'listed';
    return next;
    return;
  end if;
  select p.size, p.notes into replaced_size, replaced_notes from storage.s3_multipart_uploads_parts p
    where p.upload_id = mine.id and p.part_number = number and p.notes is not null;
  if mine.in_progress_size - coalesce(replaced_size, 0) + bytes > most_bytes then
    outcome := 'large';
    return next;
    return;
  end if;
  select r.share into whose from storage.resumable_uploads r where r.id = keep_part.upload;
  if whose is not null then
    -- The oldest upload stands for the share, and not an advisory lock, which anybody may take. Whoever waits for it sees
    -- in the next statement what the one before has noted.
    loop
      perform from storage.resumable_uploads r
        where r.share = whose and r.ended is null and r.expires_at > now()
        order by r.created_at, r.id limit 1 for no key update;
      -- It may have ended meanwhile.
      exit when found or not exists (
        select from storage.resumable_uploads r where r.share = whose and r.ended is null and r.expires_at > now()
      );
    end loop;
    if (
      select sum(coalesce(r.upload_length, r.largest)) from storage.resumable_uploads r
      where r.share = whose and r.ended is null and r.expires_at > now()
    ) - coalesce(replaced_size, 0) + bytes > share_bytes then
      outcome := 'full';
      return next;
      return;
    end if;
  end if;
  insert into storage.s3_multipart_uploads_parts as p (
    upload_id, size, part_number, bucket_id, key, etag, owner_id, version, notes, sha256, checksums
  ) values (
    mine.id, bytes, number, mine.bucket_id, mine.key, tag, mine.owner_id, mine.version, new_notes, digest, sums
  )
  on conflict (upload_id, part_number) where notes is not null do update set
    id = gen_random_uuid(), size = excluded.size, etag = excluded.etag, notes = excluded.notes,
    sha256 = excluded.sha256, checksums = excluded.checksums, created_at = now();
  update storage.resumable_uploads r
  set expires_at = now() + keep_part.lifetime_ms * interval '1 millisecond',
    largest = mine.in_progress_size - coalesce(replaced_size, 0) + bytes
  where r.id = keep_part.upload;
  outcome := 'kept';
  return next;
end $$;

-- Its parts in their order, after a number.
create or replace function storage.parts_of(upload uuid, after integer, max_rows integer) returns table (
  id uuid, number integer, size bigint, etag text, notes text, sha256 text, checksums jsonb, created_at timestamptz
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select p.id, p.part_number, p.size, p.etag, p.notes, p.sha256, p.checksums, p.created_at
  from storage.s3_multipart_uploads m join storage.s3_multipart_uploads_parts p on p.upload_id = m.id
  where m.upload = parts_of.upload and p.notes is not null and p.part_number > after
  order by p.part_number limit max_rows
$$;

-- Before a version is made of these parts, by the request that has the upload: from here on they stay as they are, and no
-- part is added. The others are forgotten. False when one of them is not there any more, or the version was begun of others.
create or replace function storage.list_parts(upload uuid, mine bigint, parts uuid[], new_list text) returns boolean
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  of_upload storage.s3_multipart_uploads;
begin
  select m.* into of_upload from storage.s3_multipart_uploads m where m.upload = list_parts.upload for no key update;
  if not found or coalesce(of_upload.list, new_list) <> new_list or not exists (
    select from storage.resumable_uploads r where r.id = list_parts.upload and r.attempt = mine and r.ended is null
  ) then
    return false;
  end if;
  -- `any`, `all` and joins may compare each with each, by a plan that does not know how many there are; `except` never does.
  if exists (
    select unnest(parts)
    except select p.id from storage.s3_multipart_uploads_parts p where p.upload_id = of_upload.id
  ) then
    return false;
  end if;
  delete from storage.s3_multipart_uploads_parts p where p.id in (
    select o.id from storage.s3_multipart_uploads_parts o where o.upload_id = of_upload.id except select unnest(parts)
  );
  update storage.s3_multipart_uploads m set list = new_list where m.id = of_upload.id;
  return true;
end $$;

-- How many bytes have come, whoever adds parts or takes them away: plain SQL, too.
create or replace function storage.count_parts() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op <> 'INSERT' then
    update storage.s3_multipart_uploads m set in_progress_size = m.in_progress_size - f.size
    from (select upload_id, sum(size) as size from former group by upload_id) f where m.id = f.upload_id;
  end if;
  if tg_op <> 'DELETE' then
    update storage.s3_multipart_uploads m set in_progress_size = m.in_progress_size + a.size
    from (select upload_id, sum(size) as size from added group by upload_id) a where m.id = a.upload_id;
  end if;
  return null;
end $$;

create or replace trigger strongroom_count_parts_on_insert after insert on storage.s3_multipart_uploads_parts
  referencing new table as added for each statement execute function storage.count_parts();

create or replace trigger strongroom_count_parts_on_update after update on storage.s3_multipart_uploads_parts
  referencing old table as former new table as added for each statement execute function storage.count_parts();

create or replace trigger strongroom_count_parts_on_delete after delete on storage.s3_multipart_uploads_parts
  referencing old table as former for each statement execute function storage.count_parts();

-- Who takes an upload's row away gives it up, be it by plain SQL or with its bucket: its bytes go on the list of removals.
create or replace function storage.give_up_multipart_upload() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update storage.resumable_uploads r set ended = 'terminated', content = '{}'
  where r.id = old.upload and r.ended is null;
  if found then
    perform storage.list_upload_for_removal(old.upload);
  end if;
  return null;
end $$;

create or replace trigger strongroom_give_up after delete on storage.s3_multipart_uploads
  for each row when (old.upload is not null) execute function storage.give_up_multipart_upload();

-- Of what a version is made, in the transaction that makes its row: nobody has read the whole of it yet, so that it is
-- verified by these. Its upload is none any more.
create or replace function storage.keep_version_parts(made uuid) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into storage.version_parts (version, parts)
  select made, jsonb_agg(jsonb_build_object('size', p.size, 'sha256', p.sha256) order by p.part_number)
  from storage.s3_multipart_uploads m join storage.s3_multipart_uploads_parts p on p.upload_id = m.id
  where m.upload = made and p.notes is not null
  having count(*) > 1
  on conflict do nothing;
  delete from storage.s3_multipart_uploads m where m.upload = made;
end $$;

-- What is known of a version whose whole nobody has hashed; null for any other.
create or replace function storage.find_version_parts(made uuid) returns jsonb
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select v.parts from storage.version_parts v where v.version = made
$$;

-- Whoever has read the whole and found each part as it should be says the hash of all of it.
create or replace function storage.note_checksum(object uuid, made text, sha256 text) returns void
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  is_noted boolean;
begin
  update storage.objects o set checksum = sha256 where o.id = object and o.version = made and o.checksum is null;
  is_noted := found;
  update storage.object_versions v set checksum = sha256
  where v.object_id = object and v.version = made and v.checksum is null;
  if is_noted or found then
    delete from storage.version_parts v where v.version = made::uuid;
  end if;
end $$;

-- A copy has the same bytes. For callers' roles too, in whose transactions copies are made, but only of a version that is
-- being written and will be no upload of theirs: the server alone knows it until its row is there, and then it is not.
create or replace function storage.copy_version_parts(source uuid, target uuid) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into storage.version_parts (version, parts)
  select u.version, v.parts from storage.version_parts v, storage.uploads u
  where v.version = source and u.version = target
    and not exists (select from storage.resumable_uploads r where r.id = u.version)
  on conflict do nothing
$$;

-- Where the folder of a name ends below the prefix, in characters; 0 when it is in none.
create or replace function storage.folder_end(name text, prefix text, delimiter text) returns integer
  language sql immutable as $$
  select case when delimiter <> '' and position(delimiter in substr(name, length(prefix) + 1)) > 0
    then length(prefix) + position(delimiter in substr(name, length(prefix) + 1)) - 1 + length(delimiter) else 0 end
$$;

-- Uploads of a bucket that the caller may see, by their names and then by their ids, which is by their age, from after the
-- given ones. With a delimiter, names that have it after the prefix are one folder, whose id is null.
create or replace function storage.list_multipart_uploads(
  bucket text, prefix text, delimiter text, after_name text, after_id text, max_rows integer
) returns table (name text, id text, created_at timestamptz) language plpgsql stable as $$
declare
  place text := after_name;
  place_id text := after_id;
  cut integer := storage.folder_end(after_name, prefix, delimiter);
  found_one record;
begin
  if starts_with(after_name, prefix) and cut > 0 then
    place := storage.prefix_end(left(after_name, cut));
    place_id := '';
  end if;
  for row in 1..max_rows loop
    select m.key, m.id, m.created_at into found_one from storage.s3_multipart_uploads m
    where m.bucket_id = bucket and m.key collate "C" >= greatest(prefix collate "C", place collate "C")
      and (prefix = '' or m.key collate "C" < storage.prefix_end(prefix) collate "C")
      and (m.key collate "C" > place collate "C" or m.key = place and m.id collate "C" > place_id collate "C")
    order by m.key collate "C", m.id collate "C" limit 1;
    exit when not found;
    cut := storage.folder_end(found_one.key, prefix, delimiter);
    if cut > 0 then
      name := left(found_one.key, cut);
      id := null;
      created_at := null;
      -- Behind all that the folder has. That name itself may be one.
      place := storage.prefix_end(name);
      place_id := '';
    else
      name := found_one.key;
      id := found_one.id;
      created_at := found_one.created_at;
      place := name;
      place_id := id;
    end if;
    return next;
  end loop;
end $$;

revoke execute on function
  storage.begin_multipart_upload(
    text, uuid, uuid, text, text, uuid, text, jsonb, jsonb, text[], jsonb, double precision, text, bigint, bigint,
    double precision, text
  ),
  storage.find_multipart_upload(uuid, integer),
  storage.claim_part(uuid, integer),
  storage.unclaim_part(uuid, integer),
  storage.note_upload(uuid, text),
  storage.ask_multipart_upload(uuid, text, text, uuid, integer, boolean, text),
  storage.keep_part(uuid, integer, bigint, text, text, text, jsonb, bigint, bigint, double precision),
  storage.parts_of(uuid, integer, integer),
  storage.list_parts(uuid, bigint, uuid[], text),
  storage.keep_version_parts(uuid),
  storage.find_version_parts(uuid),
  storage.note_checksum(uuid, text, text),
  storage.copy_version_parts(uuid, uuid)
from public, anon, authenticated, service_role;

grant execute on function
  storage.begin_multipart_upload(
    text, uuid, uuid, text, text, uuid, text, jsonb, jsonb, text[], jsonb, double precision, text, bigint, bigint,
    double precision, text
  ),
  storage.find_multipart_upload(uuid, integer),
  storage.claim_part(uuid, integer),
  storage.unclaim_part(uuid, integer),
  storage.note_upload(uuid, text),
  storage.ask_multipart_upload(uuid, text, text, uuid, integer, boolean, text),
  storage.keep_part(uuid, integer, bigint, text, text, text, jsonb, bigint, bigint, double precision),
  storage.parts_of(uuid, integer, integer),
  storage.list_parts(uuid, bigint, uuid[], text),
  storage.find_version_parts(uuid)
to service_role, strongroom_server;

-- By a wrong one a version would be taken for damaged.
grant execute on function storage.note_checksum(uuid, text, text) to strongroom_server;

grant execute on function storage.copy_version_parts(uuid, uuid) to anon, authenticated, service_role;

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.count_parts(),
  storage.give_up_multipart_upload()
from public, anon, authenticated, service_role;
