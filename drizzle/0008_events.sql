-- The outbox (design §9): what happened to an object or a bucket, written in the transaction in which it happened,
-- whoever made the change. Nothing reads it yet but an administrator; the cleanup trims it.

create table storage.events (
  id bigint generated always as identity primary key,
  type text not null,
  bucket_id text not null,
  -- Null for a bucket's events.
  name text collate "C",
  -- Where it was, if it has moved.
  old_bucket_id text,
  old_name text collate "C",
  version text,
  -- In bytes.
  size bigint,
  content_type text,
  checksum text,
  owner_id text,
  created_at timestamptz not null default now(),
  -- Ids are given before the commit, so a reader that follows them alone would miss rows that commit late: it
  -- reads what is below the oldest transaction that still runs.
  transaction xid8 not null default pg_current_xact_id()
);
--> statement-breakpoint
create index events_created_at on storage.events using brin (created_at);
--> statement-breakpoint
alter table storage.events enable row level security;
--> statement-breakpoint
grant all on storage.events to service_role;
--> statement-breakpoint
create function storage.emit_object_event() returns trigger
  language plpgsql security definer set search_path = '' as $$
declare
  object storage.objects := case when tg_op = 'DELETE' then old else new end;
  has_moved boolean := tg_op = 'UPDATE' and (old.bucket_id, old.name) is distinct from (new.bucket_id, new.name);
begin
  insert into storage.events (
    type, bucket_id, name, old_bucket_id, old_name, version, size, content_type, checksum, owner_id
  ) values (
    case tg_op
      when 'INSERT' then 'storage.object.created'
      when 'UPDATE' then 'storage.object.updated'
      else 'storage.object.deleted'
    end,
    object.bucket_id, object.name,
    case when has_moved then old.bucket_id end, case when has_moved then old.name end,
    object.version,
    -- Rows that plain SQL made may hold anything here.
    case when jsonb_typeof(object.metadata -> 'size') = 'number'
      then trunc(least((object.metadata ->> 'size')::numeric, 9223372036854775807)) end,
    object.metadata ->> 'mimetype', object.checksum, object.owner_id
  );
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_emit_created after insert on storage.objects
  for each row when (new.bucket_id is not null) execute function storage.emit_object_event();
--> statement-breakpoint
create trigger strongroom_emit_deleted after delete on storage.objects
  for each row when (old.bucket_id is not null) execute function storage.emit_object_event();
--> statement-breakpoint
-- Not for marks of the cleanup or for times of access: nothing happened to the object.
create trigger strongroom_emit_updated after update on storage.objects
  for each row when (new.bucket_id is not null and (
    old.bucket_id is distinct from new.bucket_id or old.name is distinct from new.name
    or old.version is distinct from new.version or old.metadata is distinct from new.metadata
    or old.user_metadata is distinct from new.user_metadata or old.owner_id is distinct from new.owner_id
  ))
  execute function storage.emit_object_event();
--> statement-breakpoint
create function storage.emit_bucket_event() returns trigger
  language plpgsql security definer set search_path = '' as $$
declare
  bucket storage.buckets := case when tg_op = 'DELETE' then old else new end;
begin
  insert into storage.events (type, bucket_id, owner_id) values (
    case tg_op when 'INSERT' then 'storage.bucket.created' else 'storage.bucket.deleted' end,
    bucket.id, bucket.owner_id
  );
  return null;
end $$;
--> statement-breakpoint
create trigger strongroom_emit_created after insert on storage.buckets
  for each row execute function storage.emit_bucket_event();
--> statement-breakpoint
create trigger strongroom_emit_deleted after delete on storage.buckets
  for each row execute function storage.emit_bucket_event();
