-- As before (0011). A finished upload is told as long as its object is what it has made, and for a few minutes: a client
-- that remembers it would otherwise take its file for uploaded that somebody has removed or replaced, and send nothing.
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
  where r.id = upload
$$;
--> statement-breakpoint
-- As before (0011). A client whose last answer was lost asks soon, or not at all.
create or replace function storage.finish_upload(upload uuid) returns table (version uuid, bucket_uid uuid)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from storage.uploads u where u.version = upload;
  if not found then
    raise exception 'the upload was given up' using errcode = 'SR001';
  end if;
  update storage.resumable_uploads r
  set ended = 'finished', notes = null, expires_at = least(r.expires_at, now() + interval '15 minutes')
  where r.id = upload;
  return query
    select r.version, r.bucket_uid from storage.removals r where r.transaction = pg_current_xact_id_if_assigned();
end $$;
--> statement-breakpoint
-- As folded_folders (0020), from the last one.
create function storage.folded_folders_desc(bucket text, prefix text, level_start integer, max_rows integer)
returns setof text language plpgsql stable
set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off as $$
declare
  place text := storage.prefix_end(prefix);
  inside text;
  folder text;
begin
  for row in 1..max_rows loop
    select o.folded_name into inside
    from storage.objects o
    where o.bucket_id = bucket and o.folded_name < place and o.folded_name >= prefix
      and position('/' in substr(o.folded_name, level_start)) > 0
    order by o.folded_name desc
    limit 1;
    exit when not found;
    select left(o.name, level_start - 1 + position('/' in substr(o.name, level_start))) into folder
    from storage.objects o
    where o.bucket_id = bucket and o.folded_name = inside
    limit 1;
    exit when not found;
    return next folder;
    place := lower(left(folder, -1) collate "default") || '/';
  end loop;
end $$;
--> statement-breakpoint
-- As before (0020), with folders from the last one, too, where files are.
create or replace function storage.list_folder(
  bucket text, folder text, search text, max_rows integer, skip integer, sort_column text, sort_order text
) returns table (
  name text, id uuid, updated_at timestamptz, created_at timestamptz, last_accessed_at timestamptz, metadata jsonb
) language plpgsql stable as $$
declare
  most_sorted constant integer := 5000;
  wanted text := folder || search;
  prefix text := lower(wanted collate "default");
  -- A search may hold slashes and so go down; the level begins after the last of them.
  level_start integer := length(wanted) - length(split_part(wanted, '/', -1)) + 1;
  shown_from integer := length(folder) + 1;
  direction constant text := case when sort_order = 'desc' then '_desc' else '' end;
  passed integer := 0;
  item text;
begin
  if sort_column = 'name' and sort_order = 'desc' then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level_desc(bucket, prefix, level_start, storage.prefix_end(prefix), skip + max_rows) l
      offset skip;
  elsif sort_column = 'name' then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level(bucket, prefix, level_start, prefix, skip + max_rows) l
      offset skip;
  elsif (
    select count(*) from storage.folded_level(bucket, prefix, level_start, prefix, most_sorted + 1)
  ) <= most_sorted then
    return query
      select substr(case when l.is_folder then left(l.name, -1) else l.name end, shown_from),
        l.id, l.updated_at, l.created_at, l.last_accessed_at, l.metadata
      from storage.folded_level(bucket, prefix, level_start, prefix, most_sorted + 1) l,
        lateral (select case sort_column
          when 'updated_at' then l.updated_at when 'created_at' then l.created_at else l.last_accessed_at end
        ) as sort (moment)
      order by not l.is_folder,
        case when l.is_folder and sort_order = 'desc' then lower(l.name collate "default") collate "C" end desc,
        case when l.is_folder then lower(l.name collate "default") collate "C" end,
        case when sort_order = 'desc' then sort.moment end desc,
        case when sort_order = 'desc' then l.name collate "C" end desc,
        sort.moment, l.name collate "C"
      offset skip limit max_rows;
  else
    for item in
      execute format('select f from storage.%I($1, $2, $3, $4) f', 'folded_folders' || direction)
      using bucket, prefix, level_start, skip + max_rows
    loop
      passed := passed + 1;
      if passed > skip then
        name := substr(left(item, -1), shown_from);
        return next;
      end if;
    end loop;
    return query execute format(
      'select substr(f.name, $1), f.id, f.updated_at, f.created_at, f.last_accessed_at, f.metadata
       from storage.%I($2, $3, $4, $5, $6) f',
      'files_by_' || sort_column || direction
    ) using shown_from, bucket, prefix, level_start, greatest(skip - passed, 0),
      max_rows - greatest(passed - skip, 0);
  end if;
end $$;
