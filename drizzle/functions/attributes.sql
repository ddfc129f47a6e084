-- What an object says of itself: how its file is called, to which organisation it belongs, who may know of it, what it is
-- (docs/attributes.md). Functions take and return it as JSON, without what is as it is by default.

-- Null where all is as it is by default, as of most objects.
create or replace function storage.attributes_json(
  file_name text, organization_id text, access_level text, asset_type text, enable_indexing boolean
) returns jsonb language sql stable
  return case
    when file_name is not null or organization_id is not null or access_level <> 'private' or asset_type is not null
      or not enable_indexing
    then jsonb_strip_nulls(jsonb_build_object(
      'file_name', file_name, 'organization_id', organization_id, 'access_level', nullif(access_level, 'private'),
      'asset_type', asset_type, 'enable_indexing', nullif(enable_indexing, true)))
  end;

create or replace function storage.attributes_of(object storage.objects) returns jsonb language sql stable
  return storage.attributes_json(
    (object).file_name, (object).organization_id, (object).access_level, (object).asset_type, (object).enable_indexing);

-- The same as events have it, with the tags.
create or replace function storage.told_attributes(
  tags text[], file_name text, organization_id text, access_level text, asset_type text, enable_indexing boolean
) returns jsonb language sql stable
  return case
    when tags <> '{}' or file_name is not null or organization_id is not null or access_level <> 'private'
      or asset_type is not null or not enable_indexing
    then jsonb_build_object('tags', tags)
      || coalesce(storage.attributes_json(file_name, organization_id, access_level, asset_type, enable_indexing), '{}')
  end;

-- The organisation that a token names; never in `user_metadata`, which users write. As `organizationOf` (src/model/organization.ts).
create or replace function storage.organization_of(claims jsonb) returns text language sql immutable
  return (
    select said.place #>> '{}'
    from (values
      (1, claims -> 'organization_id'), (2, claims -> 'org_id'),
      (3, claims -> 'app_metadata' -> 'organization_id'), (4, claims -> 'app_metadata' -> 'org_id'),
      (5, claims -> 'metadata' -> 'organization_id'), (6, claims -> 'metadata' -> 'org_id')
    ) said (number, place)
    where jsonb_typeof(said.place) = 'string' and said.place <> '""'
    order by said.number limit 1
  );

-- That of whoever asks; null where his token names none. For policies: `organization_id = (select storage.organization_id())`.
create or replace function storage.organization_id() returns text language sql stable
  return storage.organization_of(storage.trusted_setting('request.jwt.claims')::jsonb);

-- Nobody writes into another organisation, or takes an object out of one, by SQL either: its quota and its members' rights go by that.
create or replace function storage.guard_organization() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (new.organization_id is null or new.organization_id is distinct from storage.organization_id())
    and not pg_has_role(current_user, 'service_role', 'member')
  then
    raise exception 'an object belongs to the organisation of whoever writes it, or to none' using errcode = '42501';
  end if;
  return new;
end $$;

create or replace trigger strongroom_guard_organization before insert on storage.objects
  for each row when (new.organization_id is not null) execute function storage.guard_organization();

create or replace trigger strongroom_guard_organization_on_update before update of organization_id on storage.objects
  for each row when (new.organization_id is distinct from old.organization_id) execute function storage.guard_organization();

-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function storage.guard_organization() from public, anon, authenticated, service_role;
