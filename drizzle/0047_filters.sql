-- What lists with filters look for besides (decision 0077). An upload pays for none of them where it says nothing, and is small.
create index objects_access_level on storage.objects (access_level) where access_level <> 'private';
--> statement-breakpoint
create index objects_asset_type on storage.objects (asset_type) where asset_type is not null;
--> statement-breakpoint
-- In bytes. The smaller ones are most of all, so that nobody looks for them by this. To JSON a number is less than a boolean.
create index objects_large on storage.objects ((metadata -> 'size'))
  where (metadata -> 'size') >= '16777216'::jsonb and (metadata -> 'size') < 'false'::jsonb;
