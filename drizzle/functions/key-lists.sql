-- Without what may be long and no list shows. Rows of plain SQL may have anything there.
create or replace function storage.without_parts(metadata jsonb) returns jsonb language sql immutable as $$
  select case when jsonb_typeof(metadata) = 'object' then metadata - 'parts' else metadata end
$$;

-- Lists of S3 (decision 0050): keys that begin with `prefix` and come after `after`, in order of their bytes, and those that
-- have `delimiter`, any text, behind the prefix once, as their beginning up to its end. By skip-scan as in lists.sql: what
-- is shown once costs one seek, however many keys begin so.
--
-- A key that ends with a slash is the name of a folder's marker (src/storage/object/folder-marker.ts), which stands
-- elsewhere among the names: before all in its folder. So a name that enters folders is preceded by the markers of these,
-- of which each is sought by its name. With '/' for a delimiter only the prefix can be such a folder.
create or replace function storage.list_keys(
  bucket text, prefix text, delimiter text, after text, max_rows integer
) returns table (
  key text, is_prefix boolean, id uuid, version text, owner_id text, metadata jsonb, updated_at timestamptz
) language plpgsql stable
set enable_sort = off set enable_bitmapscan = off set enable_seqscan = off
set enable_hashjoin = off set enable_mergejoin = off
-- There is one way to go, and a page may ask a thousand times: to plan each anew takes ten times as long.
set plan_cache_mode = force_generic_plan as $$
declare
  marker constant text := '.emptyFolderPlaceholder';
  -- Where the delimiter is sought, and which names there are to look at.
  behind constant integer := length(prefix) + 1;
  above constant text := storage.prefix_end(prefix);
  place text := prefix;
  -- The key that was shown last.
  shown text := coalesce(after, '');
  wanted integer := max_rows;
  item record;
  -- Of a row: its key; where the delimiter ends in it, or 0; how far it may enter folders; the last of these.
  own text;
  finish integer;
  reach text;
  folder text := '';
  sought text[];
  markers integer;
  is_passed boolean;
begin
  if starts_with(shown, prefix) then
    finish := case when delimiter = '' then 0 else position(delimiter in substr(shown, behind)) end;
    place := case when finish > 0 then storage.prefix_end(left(shown, behind + finish + length(delimiter) - 2))
      -- No name comes between a text and that text with the smallest character behind it.
      else shown || chr(1) end;
  elsif shown collate "C" > prefix then
    return; -- all that begins with the prefix comes before it
  end if;
  while wanted > 0 loop
    is_passed := false;
    for item in
      select o.name, o.id, o.version, o.owner_id, storage.without_parts(o.metadata) as metadata, o.updated_at
      from storage.objects o
      where o.bucket_id = bucket and o.name collate "C" >= place and o.name collate "C" < above
      order by o.name collate "C"
    loop
      own := case when right(item.name, 24) = '/' || marker then left(item.name, -23) else item.name end;
      -- The second: a row of plain SQL, which no request can name.
      continue when length(own) < length(prefix) or right(item.name, 1) = '/';
      finish := case when delimiter = '' then 0 else position(delimiter in substr(own, behind)) end;
      if finish > 0 then
        finish := behind + finish + length(delimiter) - 2;
        reach := left(own, finish - 1);
      else
        reach := own;
      end if;

      if not starts_with(reach, folder) or position('/' in substr(reach, length(folder) + 1)) > 0 then
        folder := coalesce(substring(reach from '^.*/'), '');
        if folder collate "C" > shown and length(folder) >= length(prefix) then
          -- Their names first: where policies are asked, a name that is made for each row of the query finds no index.
          sought := array(
            select left(folder, i) || marker
            from generate_series(greatest(length(prefix), 1), length(folder)) i
            where substr(folder, i, 1) = '/' and left(folder, i) collate "C" > shown
          );
          return query
            select left(o.name, -length(marker)), false, o.id, o.version, o.owner_id, storage.without_parts(o.metadata),
              o.updated_at
            from storage.objects o
            where o.bucket_id = bucket and o.name collate "C" = any (sought)
            order by length(o.name)
            limit wanted;
          get diagnostics markers = row_count;
          wanted := wanted - markers;
          exit when wanted = 0;
          shown := folder;
        end if;
      end if;

      if finish > 0 then
        key := left(own, finish); is_prefix := true; id := null; version := null; owner_id := null;
        metadata := null; updated_at := null;
        return next;
        wanted := wanted - 1;
        shown := key;
        place := storage.prefix_end(key);
        is_passed := true;
        exit;
      elsif own = item.name then
        key := own; is_prefix := false; id := item.id; version := item.version; owner_id := item.owner_id;
        metadata := item.metadata; updated_at := item.updated_at;
        return next;
        wanted := wanted - 1;
        shown := key;
        exit when wanted = 0;
      end if;
    end loop;
    exit when not is_passed;
  end loop;
end $$;

-- The same, as one call that becomes the caller first.
create or replace function storage.list_keys_as(
  bucket text, prefix text, delimiter text, after text, max_rows integer, context text
) returns table (
  key text, is_prefix boolean, id uuid, version text, owner_id text, metadata jsonb, updated_at timestamptz
) language plpgsql as $$
begin
  perform storage.act_as(context);
  return query select l.* from storage.list_keys(bucket, prefix, delimiter, after, max_rows) l;
end $$;

revoke execute on function
  storage.list_keys_as(text, text, text, text, integer, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.list_keys_as(text, text, text, text, integer, text)
to service_role, strongroom_server;
