-- As `names_at_as` (version-times.sql). Where names come back elsewhere, it tells of what is there, or was, no more than the caller sees
-- of it: a name that is hidden from him is to be restored like one that nothing has, and refused when it comes to that.
create or replace function storage.names_to_as(
  bucket text, prefix text, target text, moment timestamptz, began timestamptz, after_name text, max_rows integer, context text
) returns table (
  name text, target_name text, outcome text, reason text, current text, is_freed_first boolean
) language plpgsql as $$
declare
  item record;
  there storage.objects;
  caller constant text := storage.role_of(context);
  is_asked constant boolean := target is not null and caller <> 'service_role';
begin
  for item in select n.* from storage.names_at_as(bucket, prefix, target, moment, began, after_name, max_rows, context) n loop
    name := item.name;
    target_name := item.target_name;
    outcome := item.outcome;
    reason := item.reason;
    current := item.current;
    is_freed_first := item.is_freed_first;
    if is_asked and (outcome <> 'unavailable' or reason in ('changed', 'would_be_lost')) then
      perform set_config('role', 'service_role', true);
      select o.* into there from storage.objects o where o.bucket_id = bucket and o.name = names_to_as.target_name;
      if there.id is null or not storage.may_have(there, 'see', context) then
        outcome := 'restored';
        reason := null;
        current := null;
        is_freed_first := false;
      end if;
    end if;
    return next;
  end loop;
  perform set_config('role', caller, true);
end $$;

revoke execute on function
  storage.names_to_as(text, text, text, timestamptz, timestamptz, text, integer, text)
from public, anon, authenticated, service_role;

grant execute on function
  storage.names_to_as(text, text, text, timestamptz, timestamptz, text, integer, text)
to service_role, strongroom_server;
