-- Until when each client is held to what it has asked for, of one kind of requests: when all of it will have been forgotten
-- (decision 0063). Written some times a second by every server that has rate limits, and not worth its log: after a crash
-- of PostgreSQL all begin anew.
create unlogged table strongroom.rates (
  kind text not null,
  client text not null,
  empty_at timestamptz not null,
  -- What was added last; the next addition is made of it (drizzle/functions/rates.sql).
  added interval not null,
  primary key (kind, client)
) with (fillfactor = 50);
