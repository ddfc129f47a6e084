import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { callerContext } from '../../src/database/as-caller.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { withPolicies } from '../support/policies.ts'

/*
 * Lists of what was there ask the policies about a page at once, where they can be asked so, and else about each row by itself
 * (drizzle/functions/version-sight.sql). Both show the same.
 */

const ANN = randomUUID()
const BOB = randomUUID()
const VERSIONS = `versions-${randomUUID()}`
const TRASH = `trash-${randomUUID()}`

let made: TestDatabase
/** When all names had their first version. */
let then: string
beforeAll(async () => {
  made = await createTestDatabase({ connections: 1 })
  await made.admin.unsafe(`
    create function public.is_theirs(owner text) returns boolean language sql stable as
      $$ select owner = auth.jwt() ->> 'sub' $$;
    insert into storage.buckets (id, name, versioning_status, trash_days)
    values ('${VERSIONS}', '${VERSIONS}', 'ENABLED', 0), ('${TRASH}', '${TRASH}', 'DISABLED', 30)`)
  await write('f%s/n%s', [ANN, BOB])
  const [row] = await made.admin`select clock_timestamp()::text as then`
  then = row?.then
  // A third is deleted, a third is the other's now, or has been deleted and made anew, and there are more than before.
  await made.admin`delete from storage.objects where substr(name, 5)::integer % 3 <> 0`
  await made.admin.begin(async (tx) => {
    await tx`select set_config('storage.deletion', 'replace', true)`
    await tx`delete from storage.objects where substr(name, 5)::integer % 6 = 0`
  })
  await write('f%s/n%s', [BOB, ANN], 'where n % 3 <> 1')
  await write('later/n%2$s', [BOB, ANN])
})
afterAll(() => made.drop())

/** Puts 24 names into 4 folders of both buckets, by turns of two owners. */
async function write(pattern: string, owners: string[], where = '') {
  await made.admin.unsafe(`
    insert into storage.objects (bucket_id, name, version, owner_id, metadata)
    select b.id, format('${pattern}', n / 6, n), gen_random_uuid()::text, ('{${owners}}'::text[])[1 + n % 2], '{"size": 1}'
    from generate_series(0, 23) n, storage.buckets b ${where}
    on conflict (bucket_id, name) do update set version = excluded.version, owner_id = excluded.owner_id`)
}

function contextOf(subject: string): string {
  return callerContext({
    role: 'authenticated',
    subject,
    claims: { sub: subject, role: 'authenticated' },
    token: '',
    operation: 'storage.object.list_v2',
    method: 'POST',
    path: '/',
    headers: {},
    userBuckets: false,
  })
}

type Row = Record<string, unknown>
type Page = (context: string, after: Row | undefined) => { sql: string; values: unknown[] }

const LIMIT = 7

const atOf =
  (delimiter: string): Page =>
  (context, after) => ({
    sql: `select * from storage.list_history_as($1, '', $2, $4, null, ${LIMIT}, null, 'exclude', 'exclude', false, $3::timestamptz, $5)`,
    values: [VERSIONS, delimiter, then, after?.name ?? null, context],
  })

const namesOf =
  (bucket: string): Page =>
  (context, after) => ({
    sql: `select * from storage.names_at_as($1, '', null, $2::timestamptz, now(), $3, ${LIMIT}, null, $4)`,
    values: [bucket, then, after?.name ?? null, context],
  })

const PAGES: [string, Page][] = [
  ['names as they were', atOf('')],
  ['folders as they were', atOf('/')],
  ['what is to be restored from versions', namesOf(VERSIONS)],
  ['what is to be restored from a trash', namesOf(TRASH)],
  [
    'the trash',
    (context, after) => ({
      sql: `select * from storage.list_trash_as(null, '', null, $1, $2, $3::bigint, ${LIMIT}, $4)`,
      values: [after?.bucket_id ?? null, after?.name ?? null, after?.sequence ?? null, context],
    }),
  ],
  [
    'versions',
    (context, after) => ({
      sql: `select * from storage.list_history_as($1, '', '', $2, $3, ${LIMIT}, null, 'include', 'include', false, null, $4)`,
      values: [VERSIONS, after?.name ?? null, after?.version ?? null, context],
    }),
  ],
]

/** All pages, and whether any of them has written something, as it does who puts a row back. */
async function listed(page: Page, context: string): Promise<{ rows: Row[]; hasWritten: boolean }> {
  const rows: Row[] = []
  let hasWritten = false
  for (let isLast = false; !isLast; ) {
    const { sql, values } = page(context, rows.at(-1))
    await made.admin.begin(async (tx) => {
      await tx`set local role service_role`
      const found = await tx.unsafe<Row[]>(sql, values as never[])
      await tx`reset role`
      const [transaction] = await tx`select pg_current_xact_id_if_assigned() is not null as writes`
      hasWritten ||= transaction?.writes
      rows.push(...found)
      isLast = found.length < LIMIT
    })
  }
  return { rows, hasWritten }
}

describe.each([
  ['an owner', ANN],
  ['somebody else', randomUUID()],
])('to %s', (_, subject) => {
  it.each(PAGES)('%s are the same by a policy that is asked at once', async (_, page) => {
    const context = contextOf(subject)
    let byEach: Row[] = []
    await withPolicies(
      made.admin,
      'create policy p on storage.objects using (public.is_theirs(owner_id))',
      async () => {
        byEach = (await listed(page, context)).rows
      },
    )
    await withPolicies(
      made.admin,
      `create policy p on storage.objects using (owner_id = auth.jwt() ->> 'sub')`,
      async () => {
        const { rows, hasWritten } = await listed(page, context)
        expect(rows).toEqual(byEach)
        expect(hasWritten).toBe(false)
      },
    )
    expect(byEach.length > 0).toBe(subject === ANN)
  })
})

it.each(PAGES)('the service sees %s, and nothing is asked for that', async (_, page) => {
  const service = contextOf('').replace(/^authenticated/, 'service_role')
  const { rows, hasWritten } = await listed(page, service)
  expect(rows.length).toBeGreaterThan(3)
  expect(hasWritten).toBe(false)
})
