-- Functions that Supabase users' policies and SQL call by name (contract §7.4). Where a database has its own,
-- it keeps them.

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('storage.foldername(text)', $d$
        create function storage.foldername(name text) returns text[] language sql immutable as $f$
          select case when cardinality(t) > 1 then t[:cardinality(t) - 1] else '{}' end
          from (select string_to_array(name, '/')) as s (t)
        $f$ $d$),
      ('storage.filename(text)', $d$
        create function storage.filename(name text) returns text language sql immutable as $f$
          select reverse(split_part(reverse(name), '/', 1))
        $f$ $d$),
      ('storage.extension(text)', $d$
        create function storage.extension(name text) returns text language sql immutable as $f$
          select reverse(split_part(split_part(reverse(name), '/', 1), '.', 1))
        $f$ $d$),
      ('storage.operation()', $d$
        create function storage.operation() returns text language sql stable as $f$
          select nullif(current_setting('storage.operation', true), '')
        $f$ $d$),
      ('storage.allow_any_operation(text[])', $d$
        create function storage.allow_any_operation(expected text[]) returns boolean language sql stable as $f$
          select coalesce(bool_or(
            regexp_replace(e, '^storage\.', '') = regexp_replace(storage.operation(), '^storage\.', '')
          ), false)
          from unnest(expected) as e
          where e <> ''
        $f$ $d$),
      ('storage.allow_only_operation(text)', $d$
        create function storage.allow_only_operation(expected text) returns boolean language sql stable as $f$
          select storage.allow_any_operation(array[expected])
        $f$ $d$),
      ('storage.get_size_by_bucket()', $d$
        create function storage.get_size_by_bucket() returns table (size bigint, bucket_id text)
          language sql stable as $f$
          -- Rows that plain SQL made may hold anything as metadata.
          select sum(case jsonb_typeof(o.metadata -> 'size') when 'number' then (o.metadata ->> 'size')::numeric end)::bigint,
            o.bucket_id
          from storage.objects o group by o.bucket_id
        $f$ $d$),
      ('storage.can_insert_object(text,text,uuid,jsonb)', $d$
        create function storage.can_insert_object(bucketid text, name text, owner uuid, metadata jsonb)
          returns void language plpgsql as $f$
        begin
          insert into storage.objects (bucket_id, name, owner, metadata)
          values (bucketid, can_insert_object.name, can_insert_object.owner, can_insert_object.metadata);
          raise sqlstate 'PT200' using message = 'the insert is allowed; it has been rolled back';
        end
        $f$ $d$),
      -- Attach it to refuse plain SQL deletes. Not attached by us: a delete leaks no bytes here.
      ('storage.protect_delete()', $d$
        create function storage.protect_delete() returns trigger language plpgsql as $f$
        begin
          if coalesce(current_setting('storage.allow_delete_query', true), '') <> 'true' then
            raise exception 'rows of this table are deleted through the storage API' using errcode = '42501';
          end if;
          return null;
        end
        $f$ $d$)
    ) as f (signature, definition)
  loop
    if to_regprocedure(wanted.signature) is null then
      execute wanted.definition;
    end if;
  end loop;
end $$;
