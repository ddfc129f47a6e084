import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { callerContext } from '../../src/database/as-caller.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** What a page of the trash reads (drizzle/functions/trash.sql). */

const CONTEXT = callerContext({
  role: 'service_role',
  subject: null,
  claims: { role: 'service_role' },
  token: '',
  operation: 'storage.object.list_trash',
  method: 'GET',
  path: '/',
  headers: {},
  userBuckets: false,
})

let made: TestDatabase
let buckets: string[]
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  buckets = ['a', 'b'].map((first) => `${first}-${randomUUID()}`)
  for (const [n, bucket] of buckets.entries()) {
    await made.admin`insert into storage.buckets (id, name, trash_days) values (${bucket}, ${bucket}, 7)`
    await made.admin.begin(async (tx) => {
      await tx`set local session_replication_role = replica` // no trigger
      await tx`
        insert into storage.object_versions (
          kind, bucket_id, name, object_id, version, bytes_bucket, version_number, is_versioned, valid_from, archived_at)
        select 'trash', b.id, format('dir%s/%s', i % 2, i), gen_random_uuid(), gen_random_uuid(), b.uid, 1, false, now(), now()
        from generate_series(1, ${n === 0 ? 6 : 3000}::int) i, storage.buckets b where b.id = ${bucket}`
    })
  }
  await made.admin`analyze storage.object_versions`
})
afterAll(() => made.drop())

it.each([
  ['a bucket', '', 6],
  ['names that begin so', 'dir0/', 3],
])('of %s reads that, and nothing of what is behind it', async (_, prefix, count) => {
  const list = (sql: Pick<TestDatabase['admin'], 'unsafe'>) =>
    sql.unsafe(`select * from storage.list_trash_as($1, $2, null, null, null, null, 1000, $3)`, [
      buckets[0] ?? '',
      prefix,
      CONTEXT,
    ])
  // As often as it takes until it is planned for all arguments.
  for (let times = 0; times < 10; times++) expect(await list(made.admin)).toHaveLength(count)
  const read = await made.admin.begin(async (tx) => {
    // What the session has not reported yet of the transactions before counts, too.
    const readUntilNow = async () => {
      const [row] = await tx<{ rows: number }[]>`
        select (seq_tup_read + idx_tup_fetch)::integer as rows from pg_stat_xact_all_tables
        where relid = 'storage.object_versions'::regclass`
      return row?.rows ?? 0
    }
    const before = await readUntilNow()
    await list(tx)
    return (await readUntilNow()) - before
  })
  expect(read).toBe(count)
})
