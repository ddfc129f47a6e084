-- What each bucket policy means (design §4). Users' own policies add to these, since permissive policies are
-- OR-ed; nothing here ever takes away.
--
--   bucket policy | anonymous | any signed-in user                        | the bucket's owner
--   private       | -         | -                                         | read write delete
--   authenticated | -         | read, write, delete what they uploaded    | read write delete
--   public        | read      | read                                      | read write delete
--
-- service_role bypasses RLS. Overwriting counts as delete: only the uploader or the owner may.

-- Both look past RLS, because a policy on objects that read the buckets under RLS would make any user's policy
-- on buckets that reads the objects recursive (42P17).
create function storage.bucket_policy(bucket text) returns text
  language plpgsql stable security definer set search_path = '' as $$
begin
  return (select b.policy from storage.buckets b where b.id = bucket);
end $$;
--> statement-breakpoint
create function storage.bucket_owner(bucket text) returns text
  language plpgsql stable security definer set search_path = '' as $$
begin
  return (select b.owner_id from storage.buckets b where b.id = bucket);
end $$;
--> statement-breakpoint
create policy "strongroom: anyone sees public buckets" on storage.buckets for select to anon, authenticated
  using (policy = 'public');
--> statement-breakpoint
create policy "strongroom: the signed-in see their buckets" on storage.buckets for select to authenticated
  using (policy = 'authenticated' or owner_id = (select auth.jwt() ->> 'sub'));
--> statement-breakpoint
create policy "strongroom: users may create buckets" on storage.buckets for insert to authenticated
  with check (
    (select current_setting('storage.user_buckets', true)) = 'true'
    and owner_id = (select auth.jwt() ->> 'sub')
  );
--> statement-breakpoint
create policy "strongroom: owners change buckets" on storage.buckets for update to authenticated
  using (owner_id = (select auth.jwt() ->> 'sub'))
  with check (owner_id = (select auth.jwt() ->> 'sub'));
--> statement-breakpoint
create policy "strongroom: owners delete buckets" on storage.buckets for delete to authenticated
  using (owner_id = (select auth.jwt() ->> 'sub'));
--> statement-breakpoint
create policy "strongroom: anyone reads public buckets" on storage.objects for select to anon
  using (storage.bucket_policy(bucket_id) = 'public');
--> statement-breakpoint
create policy "strongroom: the signed-in read" on storage.objects for select to authenticated
  using (
    storage.bucket_policy(bucket_id) in ('public', 'authenticated')
    or storage.bucket_owner(bucket_id) = (select auth.jwt() ->> 'sub')
  );
--> statement-breakpoint
create policy "strongroom: the signed-in upload" on storage.objects for insert to authenticated
  with check (
    storage.bucket_owner(bucket_id) = (select auth.jwt() ->> 'sub')
    or (
      storage.bucket_policy(bucket_id) = 'authenticated'
      and owner_id = (select auth.jwt() ->> 'sub')
    )
  );
--> statement-breakpoint
create policy "strongroom: uploaders and owners overwrite" on storage.objects for update to authenticated
  using (
    storage.bucket_owner(bucket_id) = (select auth.jwt() ->> 'sub')
    or (
      storage.bucket_policy(bucket_id) = 'authenticated'
      and owner_id = (select auth.jwt() ->> 'sub')
    )
  )
  with check (
    storage.bucket_owner(bucket_id) = (select auth.jwt() ->> 'sub')
    or (
      storage.bucket_policy(bucket_id) = 'authenticated'
      and owner_id = (select auth.jwt() ->> 'sub')
    )
  );
--> statement-breakpoint
create policy "strongroom: uploaders and owners delete" on storage.objects for delete to authenticated
  using (
    storage.bucket_owner(bucket_id) = (select auth.jwt() ->> 'sub')
    or (
      storage.bucket_policy(bucket_id) = 'authenticated'
      and owner_id = (select auth.jwt() ->> 'sub')
    )
  );
