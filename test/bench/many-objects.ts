import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Strongroom } from './strongroom.ts'

export interface MadeObjects {
  /** Whether each has bytes of its own, which are its version, and their hash; all are empty, and without one, if not. */
  haveBytes?: boolean
}

/** Rows by SQL and files by hand: through the server it would take an hour. */
export async function makeObjects(
  server: Strongroom,
  count: number,
  { haveBytes = false }: MadeObjects = {},
): Promise<void> {
  const [bucket] = await server.admin`select uid from storage.buckets where id = 'bench'`
  const folder = join(server.dataDir, 'objects', String(bucket?.uid))
  for (let shard = 0; shard < 256; shard++) {
    mkdirSync(join(folder, shard.toString(16).padStart(2, '0')), { recursive: true, mode: 0o700 })
  }
  const PAGE = 50_000
  for (let made = 0; made < count; made += PAGE) {
    const rows = await server.admin<{ version: string }[]>`
      insert into storage.objects (bucket_id, name, version, metadata, checksum)
      select 'bench', 'made/' || ${made}::int + n, version,
        jsonb_build_object('size', case when ${haveBytes} then length(version) else 0 end),
        case when ${haveBytes} then encode(sha256(version::bytea), 'hex') end
      from (
        select n, gen_random_uuid()::text as version from generate_series(1, ${Math.min(PAGE, count - made)}::int) n
      ) made
      returning version`
    for (const { version } of rows) {
      writeFileSync(join(folder, version.slice(0, 2), version), haveBytes ? version : '')
    }
  }
  await server.admin.unsafe('vacuum analyze storage.objects')
}
