-- Access keys of S3 clients: whom a signature stands for (decision 0048).

create table storage.credentials (
  access_key_id text primary key,
  -- As `SecretSeal` writes it: for nobody without the servers' secret, and for no other access key.
  sealed_secret text not null,
  role text not null,
  subject text,
  -- Those besides role and sub.
  claims jsonb not null check (jsonb_typeof(claims) = 'object'),
  description text not null,
  -- Null is never.
  expires_at timestamptz,
  created_at timestamptz not null default now(),
  -- To the minute; null before the first time.
  last_used_at timestamptz
);
--> statement-breakpoint
alter table storage.credentials enable row level security;
--> statement-breakpoint
grant all on storage.credentials to service_role;
