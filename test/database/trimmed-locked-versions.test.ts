import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/*
 * Locked versions of a name have no number, and its overwrites cost the same all the same: what goes is looked for at both ends
 * of what is beyond `max_versions` (docs/versions.md, "Locks").
 */

const MOST = 3

let made: TestDatabase
let sql: TestDatabase['admin']
let bucket: string
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  sql = made.admin
})
afterAll(() => made.drop())
beforeEach(async () => {
  bucket = `b-${randomUUID()}`
  await sql`
    insert into storage.buckets (id, name, versioning_status, max_versions, object_lock)
    values (${bucket}, ${bucket}, 'ENABLED', ${MOST}, true)`
})

/** So many former versions of `a`, the oldest first, and an object. Each is held, but for some of them. */
async function prepare(count: number, free: number[] = []): Promise<string[]> {
  const versions = Array.from({ length: count }, () => randomUUID())
  await sql.begin(async (tx) => {
    await tx`set local session_replication_role = replica` // no trigger: they would be trimmed
    await tx`
      insert into storage.object_versions (
        kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned, valid_from, archived_at)
      select 'version', b.id, 'a', gen_random_uuid(), v.version, b.uid, v.number, true, now(), now()
      from unnest(${versions}::text[]) with ordinality v (version, number), storage.buckets b where b.id = ${bucket}
      order by v.number`
    await tx`
      insert into storage.object_locks (version, legal_hold)
      select v.version::uuid, true from unnest(${versions}::text[]) with ordinality v (version, number)
      where v.number <> all (${free}::int[])`
    await tx`
      insert into storage.objects (bucket_id, name, version, version_number, is_versioned, current_since)
      values (${bucket}, 'a', ${randomUUID()}, ${count + 1}, true, now())`
  })
  return versions
}

const overwrite = (tx: Pick<typeof sql, 'unsafe'> = sql) =>
  tx.unsafe(`update storage.objects set version = gen_random_uuid() where bucket_id = $1`, [bucket])

async function left(versions: string[]): Promise<number[]> {
  const rows = await sql<{ version: string }[]>`
    select version from storage.object_versions where bucket_id = ${bucket} order by sequence`
  return rows.map(({ version }) => versions.indexOf(version) + 1).filter((number) => number > 0)
}

/** How many versions one overwrite reads. */
async function readByOverwrite(): Promise<number> {
  return sql.begin(async (tx) => {
    // What the session has not reported yet of the transactions before counts, too.
    const readUntilNow = async () => {
      const [row] = await tx<{ rows: number }[]>`
        select (seq_tup_read + idx_tup_fetch)::integer as rows from pg_stat_xact_all_tables
        where relid = 'storage.object_versions'::regclass`
      return row?.rows ?? 0
    }
    const before = await readUntilNow()
    await overwrite(tx)
    return (await readUntilNow()) - before
  })
}

describe('an overwrite over versions that are locked', () => {
  it('reads as many of them, however many there are', async () => {
    await prepare(100)
    await overwrite()
    const few = await readByOverwrite()
    bucket = `${bucket}-many`
    await sql`
      insert into storage.buckets (id, name, versioning_status, max_versions, object_lock)
      values (${bucket}, ${bucket}, 'ENABLED', ${MOST}, true)`
    const versions = await prepare(2000)
    await overwrite()
    expect((await readByOverwrite()) - few).toBeLessThan(10)
    expect(await left(versions)).toHaveLength(2000)
  })

  // With the object, and with what it replaces, the newest of these is one of three.
  it('takes those away that are too many and not locked', async () => {
    const versions = await prepare(100, [98, 99, 100])
    await overwrite()
    expect(await left(versions)).not.toContain(98)
    expect(await left(versions)).toHaveLength(98)
  })

  it('takes the oldest away that are locked no more', async () => {
    const versions = await prepare(100, [1, 2])
    await overwrite()
    expect((await left(versions))[0]).toBe(3)
  })
})
