-- What rules of lifecycle policies do (docs/versions.md). A server has read which rows they are about (src/storage/lifecycle);
-- each of these looks again, under the row's lock, whether it is still so. Nobody is waited for: what somebody changes at this
-- moment is left to the next pass.

-- Deletes those of these objects that are still what they were, by the same way as the API: they leave what their bucket keeps.
-- Returns their names.
create or replace function storage.expire_objects(
  bucket text, names text[], versions text[], updated timestamptz[], context text
) returns setof text language plpgsql as $$
declare
  unchanged text[];
begin
  perform set_config('role', 'service_role', true);
  select array_agg(u.name) into unchanged from (
    select o.name
    from unnest(names, versions, updated) w (name, version, updated)
    join storage.objects o on o.bucket_id = bucket and o.name = w.name
    where o.version is not distinct from w.version and o.updated_at is not distinct from w.updated
    order by o.name collate "C"
    for update of o skip locked
  ) u;
  if unchanged is not null then
    return query
      select d.name from storage.delete_objects(bucket, unchanged, '{}', 'none', null, context) d where d.outcome = 'deleted';
  end if;
end $$;

-- Deletes those of these former versions, markers and things in the trash that are not locked; of versions those that have at
-- least `keeps` newer ones, of markers that have to be alone those that are, and of others those that something newer follows.
-- Returns which.
create or replace function storage.expire_versions(sequences bigint[], keeps integer[], alone boolean[]) returns setof bigint
  language sql volatile as $$
  delete from storage.object_versions d where d.sequence in (
    select v.sequence
    from unnest(sequences, keeps, alone) w (sequence, keep, alone)
    join storage.object_versions v on v.sequence = w.sequence
    where (v.kind = 'delete_marker' or storage.lock_of(v.bucket_id, v.version, v.valid_from) is null)
      and (w.keep = 0 or w.keep <= (
        select count(*) from (
          select from storage.object_versions n
          where n.bucket_id = v.bucket_id and n.name = v.name and n.sequence > v.sequence and n.kind = 'version'
          limit w.keep
        ) newer
      ))
      and case when w.alone then storage.is_alone(v) else v.kind <> 'delete_marker' or storage.is_followed(v) end
    order by v.sequence
    for update of v skip locked
  )
  returning d.sequence
$$;

-- Whether a marker is all that there is of its name.
create or replace function storage.is_alone(v storage.object_versions) returns boolean language sql stable as $$
  select not exists (select from storage.objects o where o.bucket_id = v.bucket_id and o.name = v.name)
    and not exists (
      select from storage.object_versions w
      where w.bucket_id = v.bucket_id and w.name = v.name and w.kind <> 'trash' and w.sequence <> v.sequence
    )
$$;

-- Whether something newer has a marker's name, so that it deletes nothing any more.
create or replace function storage.is_followed(v storage.object_versions) returns boolean language sql stable as $$
  select exists (select from storage.objects o where o.bucket_id = v.bucket_id and o.name = v.name)
    or exists (
      select from storage.object_versions w
      where w.bucket_id = v.bucket_id and w.name = v.name and w.kind <> 'trash' and w.sequence > v.sequence
    )
$$;

-- Ends those of these unfinished uploads that no request has in its hands, and returns which; their bytes go on the list of
-- removals. Who takes one up at this very moment finds that it has ended.
create or replace function storage.abort_uploads(uploads uuid[]) returns setof uuid
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  item record;
begin
  for item in
    select r.id, r.attempt from storage.resumable_uploads r
    where r.id = any (uploads) and r.ended is null order by r.id
  loop
    continue when exists (
      select from strongroom.turns t where t.name = 'upload ' || item.id and strongroom.has_session(t)
    );
    if storage.terminate_resumable_upload(item.id, item.attempt) then
      return next item.id;
    end if;
  end loop;
end $$;

revoke execute on function
  storage.expire_objects(text, text[], text[], timestamptz[], text),
  storage.expire_versions(bigint[], integer[], boolean[]),
  storage.is_alone(storage.object_versions),
  storage.is_followed(storage.object_versions),
  storage.abort_uploads(uuid[])
from public, anon, authenticated, service_role;

grant execute on function
  storage.expire_objects(text, text[], text[], timestamptz[], text),
  storage.expire_versions(bigint[], integer[], boolean[]),
  storage.is_alone(storage.object_versions),
  storage.is_followed(storage.object_versions),
  storage.abort_uploads(uuid[])
to service_role, strongroom_server;
