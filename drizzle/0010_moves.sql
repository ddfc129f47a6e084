-- How far `strongroom migrate-backend` has come: one row for each pair of backends.
create table storage.moves (
  source text not null,
  target text not null,
  started_at timestamptz not null default now(),
  -- Objects with an id up to this one are done in this pass; null before the first.
  position uuid,
  -- How many objects, with how many bytes, there were when the pass began, to tell how far it is.
  total bigint not null,
  total_bytes bigint not null,
  -- Of these, how many are done: copied now, there before, or found not to be copyable.
  done bigint not null default 0,
  done_bytes bigint not null default 0,
  -- What all passes have copied.
  copied bigint not null default 0,
  copied_bytes bigint not null default 0,
  finished_at timestamptz,
  primary key (source, target)
);
--> statement-breakpoint
alter table storage.moves enable row level security;
--> statement-breakpoint
grant all on storage.moves to service_role;
