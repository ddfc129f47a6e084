-- Where service_role has no BYPASSRLS, it hears of every event all the same: what is not there any more cannot be asked
-- of the policies that let it in (decision 0033).
do $$
begin
  execute replace(
    pg_get_functiondef('storage.readable_events'::regproc),
    '(select r.rolbypassrls or r.rolsuper from', '(select r.rolname = ''service_role'' or r.rolbypassrls or r.rolsuper from'
  );
end $$;
