-- What an object says of itself, beside its tags and the days after which it goes (docs/attributes.md). Constants, so that no row is
-- written anew.
alter table storage.objects
  -- How its owner calls the file; null: by the last part of its path.
  add column file_name text,
  -- To whom it belongs besides its owner. Callers write that of their token, which a trigger sees to.
  add column organization_id text,
  add column access_level text not null default 'private',
  -- Null: by its content type.
  add column asset_type text,
  -- For whoever hears of it; nothing here asks.
  add column enable_indexing boolean not null default true;
--> statement-breakpoint
-- By what lists look for objects, as far as an upload does not pay for it: rows without a value are in none of the partial ones.
create index objects_owner_id_created_at on storage.objects (owner_id, created_at desc) where owner_id is not null;
--> statement-breakpoint
create index objects_organization_id_created_at on storage.objects (organization_id, created_at desc)
  where organization_id is not null;
--> statement-breakpoint
create index objects_tags on storage.objects using gin (tags) where tags <> '{}';
--> statement-breakpoint
create index objects_user_metadata on storage.objects using gin (user_metadata jsonb_path_ops)
  where user_metadata is not null and user_metadata <> '{}';
--> statement-breakpoint
-- By bytes, so that all of `image/` are a range of it; and no more of it than an index may hold.
create index objects_bucket_id_mimetype on storage.objects (bucket_id, (left(metadata ->> 'mimetype', 255)) collate "C");
