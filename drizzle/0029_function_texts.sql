-- Which text of each file of drizzle/functions/ this database has (decision 0040). Who serves without a right to migrate
-- still has to see that nothing is pending.
create table strongroom.function_texts (
  file text primary key,
  -- SHA-256 of the text, in hexadecimal digits.
  sha256 text not null,
  -- Of the folder it came with: a server whose own has a lower one leaves all files as they are.
  revision integer not null,
  run_at timestamptz not null default now()
);
--> statement-breakpoint
grant select on strongroom.function_texts to strongroom_server;
