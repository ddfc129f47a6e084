-- Webhooks: who gets events by HTTP, and what they have not taken yet.

create table storage.webhooks (
  id uuid primary key,
  url text not null,
  -- Signs the bodies of the standard format, and is the bearer token of the other one.
  secret text,
  -- Empty is all.
  events text[] not null,
  -- Null is all.
  bucket text,
  format text not null check (format in ('standard', 'supabase')),
  allow_private boolean not null,
  -- Who looks after it: the routes, or STORAGE_WEBHOOKS.
  source text not null check (source in ('api', 'settings')),
  -- Another one whenever whoever works for it has to look again.
  revision uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (secret is not null or format = 'supabase')
);
--> statement-breakpoint
alter table storage.webhooks enable row level security;
--> statement-breakpoint
grant all on storage.webhooks to service_role;
--> statement-breakpoint
-- Events up to the webhook's position in storage.event_sinks that it has not taken: they have failed, or wait behind
-- one of the same object that has.
create table storage.webhook_deliveries (
  webhook_id uuid not null references storage.webhooks on delete cascade,
  position bigint not null,
  -- The places that it is about: what shares one is delivered in order.
  places text[] not null,
  -- Whole, since the outbox is trimmed.
  event jsonb not null,
  -- dead: tried too often, and left to be looked at.
  state text not null check (state in ('pending', 'dead')),
  -- 0: waits behind another one.
  attempts integer not null,
  next_attempt_at timestamptz not null,
  -- The receiver's HTTP status, if it gave one.
  last_status integer,
  last_error text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (webhook_id, position)
);
--> statement-breakpoint
create index webhook_deliveries_pending on storage.webhook_deliveries (webhook_id, position) where state = 'pending';
--> statement-breakpoint
alter table storage.webhook_deliveries enable row level security;
--> statement-breakpoint
grant all on storage.webhook_deliveries to service_role;
