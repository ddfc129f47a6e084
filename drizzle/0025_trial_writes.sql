-- As before (0005), with two answers more. A trigger that leaves the row out is told before any body is read: SR003. And
-- what a user's trigger raises is an error whatever its SQLSTATE, PT200 too: only the function itself ends its trial.
create or replace function storage.trial_write(
  bucket text, object text, new_owner uuid, new_owner_id text,
  new_metadata jsonb, new_user_metadata jsonb, upsert boolean
) returns void language plpgsql as $$
declare
  is_made boolean := false;
begin
  if upsert then
    insert into storage.objects as o (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata)
    on conflict (bucket_id, name) do update set
      version = excluded.version,
      owner = coalesce(excluded.owner, o.owner),
      owner_id = coalesce(excluded.owner_id, o.owner_id),
      metadata = excluded.metadata,
      user_metadata = excluded.user_metadata
    returning o.id into object;
  else
    insert into storage.objects (bucket_id, name, version, owner, owner_id, metadata, user_metadata)
    values (bucket, object, '1', new_owner, new_owner_id, new_metadata, new_user_metadata);
  end if;
  if not found then
    raise exception 'a trigger has left the row out' using errcode = 'SR003';
  end if;
  is_made := true; -- a variable keeps its value when the block's work is undone
  raise sqlstate 'PT200';
exception when sqlstate 'PT200' then
  if not is_made then
    raise;
  end if;
end $$;
