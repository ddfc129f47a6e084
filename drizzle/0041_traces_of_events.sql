-- Which trace an event belongs to, so that whoever hears of it goes on with that (decision 0068): `traceparent` of
-- https://www.w3.org/TR/trace-context/, as the server has said it in the transaction. Null where nothing is traced.
alter table storage.events add column traceparent text;
--> statement-breakpoint
-- A default, so that whatever writes an event need not know of it. Where nothing is traced it is a look at one setting.
alter table storage.events alter column traceparent set default
  case when current_setting('storage.traceparent', true) <> '' then storage.trusted_setting('storage.traceparent') end;
--> statement-breakpoint
-- It gives the new column, too: see drizzle/functions/events.sql.
drop function if exists storage.read_events(bigint, integer);
