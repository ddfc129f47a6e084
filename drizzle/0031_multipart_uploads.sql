-- Uploads in parts (wire §6.3). Each is a resumable upload, whose life, share and end it has, and beside that a row of
-- Supabase's tables (wire §7.3), which is there for as long as the upload is: decision 0051.
alter table storage.resumable_uploads
  add column in_parts boolean not null default false,
  -- How long it stays after what has come last. Null for what older servers have begun.
  add column stays_ms double precision;
--> statement-breakpoint
alter table storage.s3_multipart_uploads
  add column if not exists user_metadata jsonb,
  add column if not exists metadata jsonb,
  -- The version. Null for rows of others.
  add column upload uuid unique references storage.resumable_uploads (id) on delete cascade,
  -- Once a version is being made of the parts: of which. From then on they are what they are.
  add column list text,
  drop constraint if exists s3_multipart_uploads_bucket_id_fkey,
  add constraint s3_multipart_uploads_bucket_id_fkey
    foreign key (bucket_id) references storage.buckets (id) on delete cascade;
--> statement-breakpoint
-- The ids of uploads begin with their time, so that this is the order in which they are listed.
create index s3_multipart_uploads_listed on storage.s3_multipart_uploads (bucket_id, key collate "C", id collate "C");
--> statement-breakpoint
alter table storage.s3_multipart_uploads_parts
  -- The backend's own: where the bytes are. Null for rows of others.
  add column notes text,
  -- Of the bytes, 64 lower-case hexadecimal digits.
  add column sha256 text,
  -- As the client has sent them, and they were found to be: the name of each with its value in base64.
  add column checksums jsonb,
  drop constraint if exists s3_multipart_uploads_parts_bucket_id_fkey,
  add constraint s3_multipart_uploads_parts_bucket_id_fkey
    foreign key (bucket_id) references storage.buckets (id) on delete cascade;
--> statement-breakpoint
create unique index s3_multipart_uploads_parts_number on storage.s3_multipart_uploads_parts (upload_id, part_number)
  where notes is not null;
--> statement-breakpoint
-- Where a row that others have made has no such index.
create index s3_multipart_uploads_parts_upload on storage.s3_multipart_uploads_parts (upload_id);
--> statement-breakpoint
create policy "strongroom: uploaders see their uploads" on storage.s3_multipart_uploads for select to anon, authenticated
  using (owner_id = (select auth.jwt() ->> 'sub'));
--> statement-breakpoint
create policy "strongroom: uploaders see their parts" on storage.s3_multipart_uploads_parts for select to anon, authenticated
  using (owner_id = (select auth.jwt() ->> 'sub'));
--> statement-breakpoint
-- Of which parts a version was made whose whole nobody has read yet: it is verified by these until the scrub has hashed it.
create table storage.version_parts (
  version uuid primary key,
  -- Of each its size and sha256, in their order.
  parts jsonb not null
);
--> statement-breakpoint
alter table storage.version_parts enable row level security;
--> statement-breakpoint
grant all on storage.version_parts to service_role;
