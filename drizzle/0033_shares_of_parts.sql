-- What these return or take is another; drizzle/functions/multipart-uploads.sql makes them anew. No release has called them.
drop function if exists
  storage.find_multipart_upload(uuid, integer),
  storage.ask_multipart_upload(uuid, text, text, uuid, integer, text),
  storage.keep_part(uuid, integer, bigint, text, text, text, jsonb, bigint, double precision);
