-- Counts the sweeps of bytes that nothing names (drizzle/functions/versions.sql, decision 0055). Its first number is that of
-- a sweep before the first.
create sequence storage.sweeps;
--> statement-breakpoint
select nextval('storage.sweeps');
--> statement-breakpoint
revoke all on storage.sweeps from public, anon, authenticated, service_role;
