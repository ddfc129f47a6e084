-- Whom an access key stands for, asked about once a second for each that is in use (decision 0048).

-- How long it is still good for is told in milliseconds, negative when it is over, so that no other clock is needed.
create or replace function storage.find_credential(id text) returns table (
  sealed_secret text, role text, subject text, claims jsonb, lifetime_ms double precision
) language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select c.sealed_secret, c.role, c.subject, c.claims,
    case when isfinite(c.expires_at) then extract(epoch from c.expires_at - now()) * 1000 end
  from storage.credentials c where c.access_key_id = id
$$;

-- Sealed or not, a secret is nothing for callers to read.
revoke execute on function storage.find_credential(text) from public, anon, authenticated;
grant execute on function storage.find_credential(text) to service_role, strongroom_server;
