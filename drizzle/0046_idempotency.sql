-- Requests that clients may send again (decision 0073). A key is that of a caller, and both are hashed together: an index takes no text
-- of any length, and nobody has to read who it was.
create table strongroom.idempotency_keys (
  id bytea primary key,
  -- A hash of whose it is: nobody has any number of them.
  owner bytea not null,
  -- A hash of all that the request says; null as long as only its body could tell.
  request text,
  -- What makes the work the same when it is done again, sealed.
  note text not null,
  -- Who is at it, and until when he has it if nothing is heard of him.
  holder uuid not null,
  held_until timestamptz not null,
  -- Sealed, as it may have a secret that is told once; null as long as there is none.
  answer text,
  created_at timestamptz not null default now()
);
--> statement-breakpoint
create index idempotency_keys_created_at on strongroom.idempotency_keys (created_at);
--> statement-breakpoint
create index idempotency_keys_owner on strongroom.idempotency_keys (owner, created_at);
--> statement-breakpoint
revoke all on strongroom.idempotency_keys from public;
--> statement-breakpoint
-- The names that `POST /object/<bucket>` makes; null: by the server's own template.
alter table storage.buckets add column path_template text;
