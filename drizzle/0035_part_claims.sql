-- Which numbers of an upload in parts have been claimed, each by one part for all servers (decision 0044): a store knows a
-- part by its number, and forgets the one before it.
create table storage.part_claims (
  upload uuid not null references storage.s3_multipart_uploads (upload) on delete cascade,
  number integer not null,
  primary key (upload, number)
);
--> statement-breakpoint
alter table storage.part_claims enable row level security;
--> statement-breakpoint
revoke all on storage.part_claims from public, anon, authenticated;
--> statement-breakpoint
grant all on storage.part_claims to service_role;
--> statement-breakpoint
-- `notes` are what the backend has noted for all parts of an upload. Of those that were begun before, numbers may be used
-- which nobody has claimed: with notes that no backend knows for its own, their further parts are stored without claims.
update storage.resumable_uploads set notes = '-' where in_parts and ended is null;
--> statement-breakpoint
-- What it returns and takes is another; drizzle/functions/multipart-uploads.sql makes it anew. No release has called it.
drop function if exists storage.ask_multipart_upload(uuid, text, text, uuid, integer, text);
