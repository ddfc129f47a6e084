-- Objects that go by themselves, so many days after they were written (docs/versions.md). Whoever replaces their bytes begins the days
-- anew; another name does not.

-- After strongroom_place_version, which says since when the version is the current one: triggers go by their names.
create or replace function storage.set_auto_delete() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.auto_delete_at := coalesce(new.current_since, new.created_at, now()) + new.auto_delete_after_days * interval '1 day';
  return new;
end $$;

-- What is brought back says itself when it is to go.
create or replace trigger strongroom_set_auto_delete before insert on storage.objects
  for each row when (new.auto_delete_after_days is not null and new.auto_delete_at is null)
  execute function storage.set_auto_delete();

create or replace trigger strongroom_set_auto_delete_on_update before update on storage.objects
  for each row when (
    old.auto_delete_after_days is distinct from new.auto_delete_after_days
    or (new.auto_delete_after_days is not null and old.version is distinct from new.version
      and old.bucket_id is not distinct from new.bucket_id and old.name is not distinct from new.name)
  )
  execute function storage.set_auto_delete();

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function storage.set_auto_delete() from public, anon, authenticated, service_role;
