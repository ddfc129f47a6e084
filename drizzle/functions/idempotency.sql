-- Requests that are sent again under one key get one answer (decision 0073). A key lasts for a day. Whoever works on one says so again
-- and again; once nothing is heard of him, the next one goes on from his note.

-- Takes a key, or tells why not: 'taken', and by what note to work; 'again', the same, and somebody may have done it already;
-- 'done', with the answer and the request that has had it; 'other', when the request was another one; 'held', when somebody works on it;
-- 'full', when its owner has `most` of them (about that, where many come at once).
create or replace function storage.take_key(
  wanted bytea, new_owner bytea, most integer, new_request text, new_note text, new_holder uuid, hold_ms integer
) returns table (outcome text, request text, note text, answer text)
  language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  until constant timestamptz := clock_timestamp() + hold_ms * interval '1 ms';
  is_over boolean;
  found_key strongroom.idempotency_keys;
begin
  for tries in 1 .. 2 loop
    insert into strongroom.idempotency_keys as k (id, owner, request, note, holder, held_until)
    select wanted, new_owner, new_request, new_note, new_holder, until
    where most is null or not exists (
      select from strongroom.idempotency_keys o
      where o.owner = new_owner and o.created_at > now() - interval '24 hours'
      offset most - 1
    )
    on conflict (id) do nothing;
    if found then
      return query select 'taken', new_request, new_note, null::text;
      return;
    end if;
    select k.* into found_key from strongroom.idempotency_keys k where k.id = wanted for update;
    exit when found;
  end loop;
  if found_key.id is null then
    return query select 'full', null, null::text, null::text;
    return;
  end if;
  if found_key.answer is null and found_key.held_until > clock_timestamp() then
    return query select 'held', null, null::text, null::text;
    return;
  end if;
  is_over := found_key.created_at < now() - interval '24 hours';
  if not is_over and found_key.request <> new_request then
    return query select 'other', null, null::text, null::text;
  elsif not is_over and found_key.answer is not null then
    return query select 'done', found_key.request, found_key.note, found_key.answer;
  else
    update strongroom.idempotency_keys k
    set holder = new_holder, held_until = until, answer = null,
      request = case when is_over then new_request else coalesce(k.request, new_request) end,
      note = case when is_over then new_note else k.note end,
      created_at = case when is_over then now() else k.created_at end
    where k.id = wanted
    returning k.note into note;
    return query select case when is_over then 'taken' else 'again' end, new_request, take_key.note, null::text;
  end if;
end $$;

-- Whether it is still his.
create or replace function storage.hold_key(wanted bytea, mine uuid, hold_ms integer) returns boolean
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with held as (
    update strongroom.idempotency_keys k set held_until = clock_timestamp() + hold_ms * interval '1 ms'
    where k.id = wanted and k.holder = mine and k.answer is null returning 1
  )
  select exists (select from held)
$$;

create or replace function storage.settle_key(wanted bytea, mine uuid, the_request text, the_answer text) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  update strongroom.idempotency_keys k set answer = the_answer, request = the_request
  where k.id = wanted and k.holder = mine
$$;

-- Gives a key up: as if it had not been, or, where nobody knows what has been done, for who sends the request again.
create or replace function storage.leave_key(wanted bytea, mine uuid, is_undone boolean) returns void
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  delete from strongroom.idempotency_keys k where is_undone and k.id = wanted and k.holder = mine;
  update strongroom.idempotency_keys k set held_until = clock_timestamp()
  where not is_undone and k.id = wanted and k.holder = mine
$$;

-- Takes away up to `most` whose day is over. Returns how many.
create or replace function storage.forget_keys(most integer) returns integer
  language sql volatile security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (
    delete from strongroom.idempotency_keys k using (
      select e.id from strongroom.idempotency_keys e
      where e.created_at < now() - interval '24 hours' and (e.answer is not null or e.held_until < now())
      order by e.created_at limit most for update skip locked
    ) e
    where k.id = e.id returning 1
  )
  select count(*)::integer from gone
$$;

-- Answers are for whoever has had them, and service_role is a caller's role too.
revoke execute on function
  storage.take_key(bytea, bytea, integer, text, text, uuid, integer),
  storage.hold_key(bytea, uuid, integer),
  storage.settle_key(bytea, uuid, text, text),
  storage.leave_key(bytea, uuid, boolean),
  storage.forget_keys(integer)
from public, anon, authenticated, service_role;

grant execute on function
  storage.take_key(bytea, bytea, integer, text, text, uuid, integer),
  storage.hold_key(bytea, uuid, integer),
  storage.settle_key(bytea, uuid, text, text),
  storage.leave_key(bytea, uuid, boolean),
  storage.forget_keys(integer)
to strongroom_server;
