-- Objects that go by themselves, so many days after they were written (docs/versions.md). Whoever replaces their bytes begins the days
-- anew; another name does not.

create or replace function storage.auto_delete_time(current_since timestamptz, created_at timestamptz, days integer)
  returns timestamptz language sql stable return coalesce(current_since, created_at, now()) + days * interval '1 day';

-- After strongroom_place_version, which says since when the version is the current one: triggers go by their names. What is brought
-- back says itself when it is to go. Of an update `touch_updated_at` says it.
create or replace function storage.set_auto_delete() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.auto_delete_at is null then
    new.auto_delete_at := storage.auto_delete_time(new.current_since, new.created_at, new.auto_delete_after_days);
  end if;
  return new;
end $$;

create or replace trigger strongroom_set_auto_delete before insert on storage.objects
  for each row when (new.auto_delete_after_days is not null) execute function storage.set_auto_delete();

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function storage.set_auto_delete() from public, anon, authenticated, service_role;
