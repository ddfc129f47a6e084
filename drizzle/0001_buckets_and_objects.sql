-- The two tables that everything stands on, with Supabase's columns (contract §7.1, §7.2) and ours. Each
-- statement leaves alone what a Supabase database already has.

do $$
begin
  if to_regtype('storage.buckettype') is null then
    create type storage.buckettype as enum ('STANDARD', 'ANALYTICS', 'VECTOR');
  end if;
end $$;
--> statement-breakpoint
create table if not exists storage.buckets (
  id text primary key,
  name text not null unique,
  owner uuid,
  owner_id text,
  public boolean default false,
  avif_autodetection boolean default false,
  file_size_limit bigint,
  allowed_mime_types text[],
  type storage.buckettype not null default 'STANDARD',
  versioning_status text not null default 'DISABLED',
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);
--> statement-breakpoint
alter table storage.buckets
  add column if not exists owner_id text,
  add column if not exists type storage.buckettype not null default 'STANDARD',
  add column if not exists versioning_status text not null default 'DISABLED',
  -- The bucket's part of every location of bytes: a bucket made again under an old id shares nothing with it.
  add column if not exists uid uuid not null default gen_random_uuid(),
  add column if not exists policy text;
--> statement-breakpoint
update storage.buckets set policy = case when public then 'public' else 'private' end where policy is null;
--> statement-breakpoint
alter table storage.buckets
  alter column policy set not null,
  add constraint buckets_policy_known check (policy in ('private', 'authenticated', 'public'));
--> statement-breakpoint
create unique index if not exists buckets_uid on storage.buckets (uid);
--> statement-breakpoint
-- The name is compared byte by byte, so that order is the same on every machine and prefixes are ranges.
create table if not exists storage.objects (
  id uuid primary key default gen_random_uuid(),
  bucket_id text references storage.buckets (id),
  name text collate "C",
  owner uuid,
  owner_id text,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  last_accessed_at timestamptz default now(),
  metadata jsonb,
  path_tokens text[] generated always as (string_to_array(name, '/')) stored,
  version text,
  user_metadata jsonb,
  archived_at timestamptz,
  is_delete_marker boolean default false,
  is_versioned boolean default false
);
--> statement-breakpoint
alter table storage.objects
  add column if not exists owner_id text,
  add column if not exists user_metadata jsonb,
  -- Where the bytes are: the uid of the bucket that they were uploaded to. A move across buckets keeps it.
  add column if not exists bytes_bucket uuid,
  -- SHA-256 of the bytes, 64 lower-case hexadecimal digits.
  add column if not exists checksum text;
--> statement-breakpoint
create unique index if not exists bucketid_objname on storage.objects (bucket_id, name);
--> statement-breakpoint
-- A table that came from Supabase has the name in the database's own collation: it needs this one besides.
do $$
begin
  if (select attcollation <> '"C"'::regcollation from pg_attribute
      where attrelid = 'storage.objects'::regclass and attname = 'name') then
    create index if not exists idx_objects_bucket_id_name on storage.objects (bucket_id, name collate "C");
  end if;
end $$;
--> statement-breakpoint
-- For list v1, which ignores case. A column and not an index on lower(name), because lower() is not leakproof:
-- under RLS the planner would have to ask the policies about every row before it may look at such an index. And
-- in the database's collation, since "C" knows the case of ASCII letters alone.
alter table storage.objects
  add column if not exists folded_name text collate "C" generated always as (lower(name collate "default")) stored;
--> statement-breakpoint
create index if not exists objects_bucket_id_folded_name on storage.objects (bucket_id, folded_name);
--> statement-breakpoint
-- "Does any row still name these bytes?" is asked before any bytes are removed.
create index if not exists objects_version on storage.objects (version);
--> statement-breakpoint
create table if not exists storage.s3_multipart_uploads (
  id text primary key,
  in_progress_size bigint not null default 0,
  upload_signature text not null,
  bucket_id text not null references storage.buckets (id),
  key text collate "C" not null,
  version text not null,
  owner_id text,
  created_at timestamptz not null default now(),
  user_metadata jsonb,
  metadata jsonb
);
--> statement-breakpoint
create table if not exists storage.s3_multipart_uploads_parts (
  id uuid primary key default gen_random_uuid(),
  upload_id text not null references storage.s3_multipart_uploads (id) on delete cascade,
  size bigint not null default 0,
  part_number integer not null,
  bucket_id text not null references storage.buckets (id),
  key text collate "C" not null,
  etag text not null,
  owner_id text,
  version text not null,
  created_at timestamptz not null default now()
);
--> statement-breakpoint
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
--> statement-breakpoint
grant select on storage.s3_multipart_uploads, storage.s3_multipart_uploads_parts to anon, authenticated;
--> statement-breakpoint
grant all on storage.s3_multipart_uploads, storage.s3_multipart_uploads_parts to service_role;
--> statement-breakpoint
alter table storage.buckets enable row level security;
--> statement-breakpoint
alter table storage.objects enable row level security;
--> statement-breakpoint
alter table storage.s3_multipart_uploads enable row level security;
--> statement-breakpoint
alter table storage.s3_multipart_uploads_parts enable row level security;
--> statement-breakpoint
-- `public` is Supabase's column, `policy` ours; whichever a statement changes, the other follows.
create or replace function storage.keep_bucket_policy() returns trigger language plpgsql as $$
begin
  if length(new.name) > 100 then
    raise exception 'the bucket name has more than 100 characters' using errcode = '22001';
  end if;
  if tg_op = 'UPDATE' and new.policy is not distinct from old.policy then
    if coalesce(new.public, false) is distinct from coalesce(old.public, false) then
      new.policy := case when new.public then 'public' else 'private' end;
    end if;
  elsif new.policy is null then
    new.policy := case when new.public then 'public' else 'private' end;
  end if;
  new.public := new.policy = 'public';
  return new;
end $$;
--> statement-breakpoint
create or replace trigger strongroom_keep_bucket_policy before insert or update on storage.buckets
  for each row execute function storage.keep_bucket_policy();
--> statement-breakpoint
create or replace function storage.touch_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end $$;
--> statement-breakpoint
create or replace trigger strongroom_touch_updated_at before update on storage.objects
  for each row execute function storage.touch_updated_at();
