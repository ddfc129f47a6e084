-- What clients have asked for, added up over all servers (decision 0063). A client's requests fill a bucket that leaks
-- steadily: `empty_at` is when it will be empty, so that nothing has to be done as time goes by. Each request adds the time
-- that the bucket takes to leak one.

-- Adds to the buckets what one server has let in since it asked last, the first of it `ages` milliseconds ago, and tells how
-- full they are now: the time until each is empty, in milliseconds. In one order, so that two servers cannot wait for each
-- other.
create or replace function storage.settle_rates(
  kinds text[], clients text[], ages double precision[], additions double precision[]
) returns table (kind text, client text, left_ms double precision)
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  insert into strongroom.rates as r (kind, client, empty_at, added)
  select n.kind, n.client, now() + (n.addition - n.age) * interval '1 ms', n.addition * interval '1 ms'
  from unnest(kinds, clients, ages, additions) n (kind, client, age, addition)
  order by n.kind, n.client
  on conflict on constraint rates_pkey do update set
    empty_at = greatest(r.empty_at, excluded.empty_at - excluded.added) + excluded.added,
    added = excluded.added
  returning r.kind, r.client, (extract(epoch from r.empty_at - now()) * 1000)::double precision
$$;

-- Takes away the buckets that are empty, but for those that another server is adding to.
create or replace function storage.forget_rates() returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from strongroom.rates r using (
    select e.kind, e.client from strongroom.rates e where e.empty_at < now() for update skip locked
  ) e
  where r.kind = e.kind and r.client = e.client
$$;

-- Nobody adds to another's bucket, or takes his own away.
revoke execute on function
  storage.settle_rates(text[], text[], double precision[], double precision[]), storage.forget_rates()
from public, anon, authenticated;
grant execute on function
  storage.settle_rates(text[], text[], double precision[], double precision[]), storage.forget_rates()
to service_role, strongroom_server;
