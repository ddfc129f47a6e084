-- Words of a client's own about an object, which go with its version. A tag of S3 is one of them, `key=value`
-- (src/storage/object/tags.ts).
alter table storage.objects add column if not exists tags text[] not null default '{}';
--> statement-breakpoint
-- Both are made again by drizzle/functions/objects.sql, with the tags.
drop function if exists storage.read_object(text, text, text, text);
--> statement-breakpoint
drop function if exists storage.trial_write(text, text, uuid, text, jsonb, jsonb, boolean);
