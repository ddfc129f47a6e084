import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Strongroom } from './strongroom.ts'

/** Rows by SQL and empty files by hand: through the server it would take an hour. */
export async function makeObjects(server: Strongroom, count: number): Promise<void> {
  const [bucket] = await server.admin`select uid from storage.buckets where id = 'bench'`
  const folder = join(server.dataDir, 'objects', String(bucket?.uid))
  for (let shard = 0; shard < 256; shard++) {
    mkdirSync(join(folder, shard.toString(16).padStart(2, '0')), { recursive: true, mode: 0o700 })
  }
  const PAGE = 50_000
  for (let made = 0; made < count; made += PAGE) {
    const rows = await server.admin<{ version: string }[]>`
      insert into storage.objects (bucket_id, name, version, metadata)
      select 'bench', 'made/' || ${made}::int + n, gen_random_uuid()::text, '{"size": 0}'
      from generate_series(1, ${Math.min(PAGE, count - made)}::int) n returning version`
    for (const { version } of rows) writeFileSync(join(folder, version.slice(0, 2), version), '')
  }
  await server.admin.unsafe('vacuum analyze storage.objects')
}
