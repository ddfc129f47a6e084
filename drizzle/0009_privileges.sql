-- Less for the callers' roles to reach, should one of them ever get to run SQL of its own.

-- An empty search_path still has the session's temporary schema before all others, for the names of types: whoever
-- may make one could have had his own `uuid` run by these functions' owner.
do $$
declare
  name text;
begin
  foreach name in array array[
    'list_removal()', 'keep_bytes_bucket()', 'finish_upload(uuid)', 'own_removals()', 'strike_removals(uuid[])',
    'strike_upload(uuid)', 'beat_uploads(uuid[])', 'bucket_settings(text)', 'remember_bucket()',
    'list_all_removals()', 'remember_all_buckets()', 'emit_object_event()', 'emit_bucket_event()'
  ] loop
    execute format('alter function storage.%s set search_path = pg_catalog, pg_temp', name);
  end loop;
end $$;
--> statement-breakpoint
-- A trigger needs no such right when it fires, only when it is made.
revoke execute on function
  storage.list_removal(), storage.keep_bytes_bucket(), storage.remember_bucket(), storage.list_all_removals(),
  storage.remember_all_buckets(), storage.emit_object_event(), storage.emit_bucket_event()
from public;
--> statement-breakpoint
-- `all` has TRUNCATE, which asks no policy, and TRIGGER, which runs code for whoever writes next.
revoke all on storage.buckets, storage.objects from anon, authenticated;
--> statement-breakpoint
grant select, insert, update, delete on storage.buckets, storage.objects to anon, authenticated;
--> statement-breakpoint
-- A bucket that Supabase's SQL has made without a word on `public` is private. Unknown must not mean anything else.
update storage.buckets set public = (policy = 'public') where public is null;
--> statement-breakpoint
alter table storage.buckets alter column public set not null;
--> statement-breakpoint
-- What policies ask about buckets, past the buckets' own RLS (see 0003). Nobody may name what is in this schema;
-- policies refer to it all the same, since names are looked up when they are made. A view and not a function, so
-- that the planner may hash it for a list instead of asking for every row.
create schema strongroom;
--> statement-breakpoint
create view strongroom.bucket_rules as select b.id, b.policy, b.owner_id from storage.buckets b;
--> statement-breakpoint
grant select on strongroom.bucket_rules to anon, authenticated;
--> statement-breakpoint
alter policy "strongroom: anyone reads public buckets" on storage.objects using (
  exists (select from strongroom.bucket_rules b where b.id = objects.bucket_id and b.policy = 'public')
);
--> statement-breakpoint
alter policy "strongroom: the signed-in read" on storage.objects using (
  exists (
    select from strongroom.bucket_rules b where b.id = objects.bucket_id
      and (b.policy in ('public', 'authenticated') or b.owner_id = (select auth.jwt() ->> 'sub'))
  )
);
--> statement-breakpoint
do $$
declare
  -- Owners of the bucket; and in a bucket for all signed-in users, whoever uploaded the object.
  rule constant text := $rule$
    exists (
      select from strongroom.bucket_rules b where b.id = objects.bucket_id
        and (
          b.owner_id = (select auth.jwt() ->> 'sub')
          or (b.policy = 'authenticated' and objects.owner_id = (select auth.jwt() ->> 'sub'))
        )
    )
  $rule$;
begin
  execute format('alter policy "strongroom: the signed-in upload" on storage.objects with check (%s)', rule);
  execute format(
    'alter policy "strongroom: uploaders and owners overwrite" on storage.objects using (%1$s) with check (%1$s)', rule);
  execute format('alter policy "strongroom: uploaders and owners delete" on storage.objects using (%s)', rule);
end $$;
--> statement-breakpoint
drop function storage.bucket_policy(text);
--> statement-breakpoint
drop function storage.bucket_owner(text);
